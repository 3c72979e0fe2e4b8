//! Identifiers that are minted here, sorted by time: 27 characters for messages, activities and events, UUIDs for runs.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::time::Time;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// KSUIDs count seconds from here (2014-05-13T16:53:20Z).
const KSUID_EPOCH_SECONDS: i64 = 1_400_000_000;

/// A KSUID: 4 bytes of seconds and 16 of payload, in base 62. The payload begins with the microseconds of the
/// second, so that ids sort by creation (F-TRN-15). Layout: <https://github.com/segmentio/ksuid>.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ksuid([u8; 27]);

impl Ksuid {
    /// Mints the id of what happened at `at`; `seed` (a run, a step, an attempt) tells it from all others, so that
    /// doing a thing again after a crash mints the same id.
    pub fn mint(at: Time, seed: &[&[u8]]) -> Self {
        let mut payload = [0; 12];
        payload.copy_from_slice(&hash(seed).finalize()[..12]);
        Ksuid::at(at, payload)
    }

    /// The lowest id that can be minted at `at`: those of everything that happened before are lower.
    pub fn lowest(at: Time) -> Self {
        Ksuid::at(at, [0; 12])
    }

    fn at(at: Time, payload: [u8; 12]) -> Self {
        let seconds = (at.seconds() - KSUID_EPOCH_SECONDS).clamp(0, i64::from(u32::MAX)) as u32;
        let micros = at.micros().rem_euclid(1_000_000) as u32;
        let mut raw = [0u8; 20];
        raw[..4].copy_from_slice(&seconds.to_be_bytes());
        raw[4..8].copy_from_slice(&micros.to_be_bytes());
        raw[8..].copy_from_slice(&payload);
        Ksuid(base62(raw))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Ksuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Ksuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// 160 bits, big-endian, as 27 base-62 digits.
fn base62(raw: [u8; 20]) -> [u8; 27] {
    let mut words = [0u32; 5];
    for (word, chunk) in words.iter_mut().zip(raw.chunks_exact(4)) {
        *word = u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    let mut out = [b'0'; 27];
    for digit in out.iter_mut().rev() {
        let mut remainder = 0u64;
        for word in &mut words {
            let value = (remainder << 32) | u64::from(*word);
            *word = (value / 62) as u32;
            remainder = value % 62;
        }
        *digit = ALPHABET[remainder as usize];
    }
    out
}

/// The id of a workflow run that begins at `at`; `seed` (a schedule, a run and its step) tells it from all others. A UUIDv4
/// (W-TRG-02) whose first 48 bits are the millisecond, as those of a UUIDv7 are: what is found by it is added to its index in
/// order, which costs a fraction of what random places do.
pub fn workflow_run_id(at: Time, seed: &[&[u8]]) -> Uuid {
    uuid::Builder::from_random_bytes(in_order(at, hash(seed)).into_bytes()).into_uuid()
}

/// The id of a workflow run that begins at `at` by itself: no other ever has it.
pub fn new_workflow_run_id(at: Time) -> Uuid {
    workflow_run_id(at, &[Uuid::new_v4().as_bytes()])
}

/// Calls that steps make are named inside this namespace; it must never change.
const CALLS: Uuid = Uuid::from_u128(0x1f63_c8d2_0a5e_4d19_b7c4_92e8_5f30_d6a7);

/// The id by which a server can tell that a step of a run calls it again. A run comes to a step once.
pub fn call_id(run: Uuid, step_ref: &str) -> Uuid {
    Uuid::new_v5(&CALLS, &[run.as_bytes(), step_ref.as_bytes()].concat())
}

/// The id of one recipient's run, derived from the workflow run and the recipient (W-RUN-01), and in order like that.
pub fn recipient_run_id(workflow_run: Uuid, recipient: &str, at: Time) -> Uuid {
    in_order(at, Sha256::new().chain_update(workflow_run.as_bytes()).chain_update(recipient))
}

/// The UUIDv7 of the millisecond, whose other bits are the digest's first.
fn in_order(at: Time, hash: Sha256) -> Uuid {
    let mut random = [0; 10];
    random.copy_from_slice(&hash.finalize()[..10]);
    let millis = at.micros().div_euclid(1_000).max(0).unsigned_abs();
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// Of parts that do not run together.
fn hash(seed: &[&[u8]]) -> Sha256 {
    let mut hash = Sha256::new();
    for part in seed {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base62_agrees_with_the_published_extremes() {
        assert_eq!(&base62([0; 20]), b"000000000000000000000000000");
        assert_eq!(&base62([255; 20]), b"aWgEPTl1tmebfsQzFP4bxwgy80V");
    }

    #[test]
    fn ids_sort_by_creation_and_repeat_for_the_same_cause() {
        let at = Time::from_micros(1_790_000_000_000_001);
        let first = Ksuid::mint(at, &[b"run", b"step"]);
        assert_eq!(first, Ksuid::mint(at, &[b"run", b"step"]));
        assert_ne!(first, Ksuid::mint(at, &[b"runs", b"tep"]), "parts do not run together");
        assert!(first < Ksuid::mint(at.plus_micros(1), &[b"a"]), "F-TRN-15");
        assert!(first > Ksuid::lowest(at) && first < Ksuid::lowest(at.plus_micros(1)));
        assert_eq!(first.as_str().len(), 27, "F-TRN-15");
    }
    #[test]
    fn ids_of_runs_are_uuids_in_order_which_repeat_for_the_same_cause() {
        let at = Time::from_micros(1_790_000_000_000_001);
        let first = workflow_run_id(at, &[b"run", b"step"]);
        assert_eq!(first, workflow_run_id(at, &[b"run", b"step"]));
        assert_ne!(first, workflow_run_id(at, &[b"runs", b"tep"]));
        let of_recipient = recipient_run_id(first, "anna", at);
        assert_ne!(of_recipient, recipient_run_id(first, "ben", at), "W-RUN-01");
        assert_eq!((first.get_version_num(), of_recipient.get_version_num()), (4, 7), "W-TRG-02");
        for id in [first, of_recipient] {
            assert!(id < workflow_run_id(at.plus_micros(1_000), &[b"run", b"step"]));
        }
    }
}
