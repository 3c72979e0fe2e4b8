//! How often something may happen: the generic cell rate algorithm, whose whole state is one number.

/// When a bucket that will be empty at `empty_at` will be so once one more has passed, each taking `share` and `depth` the
/// most that may pass at once; else how long to wait. All in microseconds.
pub fn pass(empty_at: i64, share: i64, depth: i64, now: i64) -> Result<i64, i64> {
    // A clock that was set back must not lock anybody out.
    let from = empty_at.clamp(now, now + depth);
    let over = from + share - (now + depth);
    if over > 0 { Err(over) } else { Ok(from + share) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_pass_at_once_as_are_deep_and_then_one_for_each_share() {
        let (share, depth) = (200, 1_000);
        let mut empty_at = 0;
        let mut passed = |now: i64| pass(empty_at, share, depth, now).map(|at| empty_at = at);
        assert!((0..5).all(|_| passed(50).is_ok()));
        assert_eq!(passed(50), Err(200));
        assert_eq!(passed(249), Err(1));
        assert_eq!(passed(250), Ok(()));
        assert_eq!(passed(250), Err(200));
        assert!(passed(-5_000_000).is_err_and(|wait| wait <= share), "the clock was set back");
        assert!((0..5).all(|_| passed(1_000_000).is_ok()));
    }
}
