//! By which keys sockets were let in: each pass once, however many sockets it let in, so that a revocation ends them all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{REVOKED, TOKEN_ENDED};
use crate::store;
use crate::verbs::door::{Lapsed, LiveKeys, Pass};

/// The passes of open sockets.
#[derive(Default)]
pub(crate) struct Passes {
    standing: Mutex<HashMap<Pass, Arc<Standing>>>,
}

/// Whether a pass is still good; shared by the sockets that it let in.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// The code to close with, once it is not; zero before.
    ended: AtomicU16,
}

impl Standing {
    /// The code with which the sockets of a pass that is no longer good are closed.
    pub(crate) fn ended(&self) -> Option<u16> {
        Some(self.ended.load(Ordering::Relaxed)).filter(|code| *code != 0)
    }
}

impl Passes {
    /// How the pass of one who was just let in stands.
    pub(crate) fn standing(&self, pass: Pass) -> Arc<Standing> {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(standing.entry(pass).or_default())
    }

    /// Compares the passes with the keys that are live. These are read after the list of passes is taken: a key made
    /// meanwhile would else look revoked.
    pub(crate) async fn inspect(
        &self,
        live: impl AsyncFnOnce() -> Result<LiveKeys, store::Error>,
    ) -> Result<(), store::Error> {
        let held = self.held();
        if held.is_empty() {
            return Ok(());
        }
        let live = live().await?;
        for (pass, standing) in held {
            let code = match live.lapse(&pass) {
                None => continue,
                Some(Lapsed::ApiKey) => REVOKED,
                Some(Lapsed::SigningKey) => TOKEN_ENDED,
            };
            standing.ended.store(code, Ordering::Relaxed);
            self.standing.lock().unwrap_or_else(PoisonError::into_inner).remove(&pass);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The passes by which somebody is still in; the others are forgotten.
    fn held(&self) -> Vec<(Pass, Arc<Standing>)> {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.retain(|_, standing| Arc::strong_count(standing) > 1);
        standing.iter().map(|(pass, standing)| (pass.clone(), Arc::clone(standing))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(key: &str, kid: Option<&str>) -> Pass {
        Pass { api_key: key.to_owned(), env: 1, kid: kid.map(Arc::from) }
    }

    fn live(keys: &[&str], kids: &[(i64, &str)]) -> LiveKeys {
        LiveKeys {
            api_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            signing_keys: kids.iter().map(|(env, kid)| (*env, (*kid).to_owned())).collect(),
        }
    }

    #[tokio::test]
    async fn sockets_let_in_alike_share_their_standing_and_it_ends_for_the_key_that_went() {
        let passes = Passes::default();
        let [alone, again] = [passes.standing(pass("a", None)), passes.standing(pass("a", None))];
        let signed = passes.standing(pass("a", Some("k1")));
        assert!(Arc::ptr_eq(&alone, &again) && !Arc::ptr_eq(&alone, &signed));
        passes.inspect(async || Ok(live(&["a"], &[(1, "k1")]))).await.unwrap();
        assert_eq!((alone.ended(), signed.ended()), (None, None));
        passes.inspect(async || Ok(live(&["a"], &[(2, "k1")]))).await.unwrap();
        assert_eq!((alone.ended(), signed.ended()), (None, Some(TOKEN_ENDED)), "another environment's key is another");
        passes.inspect(async || Ok(live(&[], &[(1, "k1")]))).await.unwrap();
        assert_eq!(alone.ended(), Some(REVOKED), "F-AUT-03");
        assert_eq!(passes.standing(pass("a", None)).ended(), None, "whoever the door lets in is judged anew");
    }

    #[tokio::test]
    async fn a_key_made_while_the_keys_are_read_is_not_taken_for_a_revoked_one() {
        let passes = Passes::default();
        let old = passes.standing(pass("old", None));
        let mut new = None;
        let read = async || {
            new = Some(passes.standing(pass("new", None)));
            Ok(live(&["old"], &[]))
        };
        passes.inspect(read).await.unwrap();
        assert_eq!((old.ended(), new.unwrap().ended()), (None, None));
    }

    #[tokio::test]
    async fn where_nobody_is_in_no_key_is_read() {
        let passes = Passes::default();
        drop(passes.standing(pass("a", None)));
        passes.inspect(async || panic!("the store was asked")).await.unwrap();
        let held = passes.standing(pass("a", None));
        assert!(passes.inspect(async || Err(store::Error::Closed)).await.is_err());
        assert_eq!(held.ended(), None, "a store that cannot be read revokes nothing");
    }
}
