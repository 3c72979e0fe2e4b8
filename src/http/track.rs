//! Links that recipients follow, `/l/{token}` and `/s/{key}`, and pictures that are loaded when they open a message, `/o/{token}`: whoever
//! comes is answered first, and what they did is recorded behind it (F-TRK-05, F-TRK-07).

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue, LOCATION, REFERRER_POLICY};
use hyper::{Method, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::error;

use super::Face;
use super::answer::Answer;
use super::center;
use super::error::ApiError;
use super::limits::{Key, Tier};
use super::vitals::Entry;
use crate::verbs;
use crate::verbs::track::{LINKS, OPENINGS, SHORT_LINKS};

/// How many things may be recorded behind their answers at once; further ones are recorded before.
pub(super) const RECORDINGS: usize = 256;
/// The number by which is counted what comes from an address without a good token, which no operation of the API has.
const UNKNOWN: usize = usize::MAX - 6;
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");

/// A picture of one point that nobody sees.
const PIXEL: &[u8] =
    b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\
\x00\x1f\x15\xc4\x89\x00\x00\x00\x0b\x49\x44\x41\x54\x78\xda\x63\x60\x00\x02\x00\x00\x05\x00\x01\xe9\xfa\xdc\xd8\
\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82";

/// Whether a path is one of these.
pub(crate) fn is_at(path: &str) -> bool {
    [LINKS, SHORT_LINKS, OPENINGS].iter().any(|start| path.starts_with(start))
}

/// Answers whoever comes. Only a token of ours leads anywhere (F-TRK-04).
pub(crate) async fn answer(face: &Arc<Face>, entry: Entry, method: &Method, path: &str) -> Result<Answer, ApiError> {
    // Whoever only looks where a link leads, as programs that check links do, has not followed it.
    let is_looking = method == Method::HEAD;
    if method != Method::GET && !is_looking {
        return Err(ApiError::no_method("GET, HEAD, OPTIONS"));
    }
    let core = Arc::clone(&face.core);
    let answer = if !path.starts_with(OPENINGS) {
        let found = match path.strip_prefix(SHORT_LINKS) {
            Some(key) => core.short_link(key).await?,
            None => core.tracked_link(path.strip_prefix(LINKS).unwrap_or_default()).await?,
        };
        let Some((env, link)) = found else { return lost(face, entry) };
        let answer = Answer::empty().status(StatusCode::FOUND).with(LOCATION, &link.url);
        if !is_looking {
            record(face, async move { core.record_click(env, &link).await }).await;
        }
        answer
    } else {
        let token = path.strip_prefix(OPENINGS).unwrap_or_default();
        let Some((env, message)) = core.tracked_opening(token).await? else { return lost(face, entry) };
        if !is_looking {
            record(face, async move { core.record_opening(env, &message).await }).await;
        }
        Answer::text(HeaderValue::from_static("image/png"), Bytes::from_static(PIXEL))
    };
    Ok(answer.with(REFERRER_POLICY, "no-referrer").with(ROBOTS, "noindex, nofollow"))
}

fn lost(face: &Face, entry: Entry) -> Result<Answer, ApiError> {
    face.count(Key { env: 0, operation: UNKNOWN, whom: Some(format!("peer:{}", entry.peer).into()) }, Tier::Three)?;
    Ok(center::lost())
}

/// Has it recorded what somebody did, by a task that nobody waits for; where there are too many of them, it is waited for.
async fn record(face: &Face, recording: impl Future<Output = Result<(), verbs::Error>> + Send + 'static) {
    let recording = async {
        if let Err(fault) = recording.await {
            error!(error = %fault, "a click or an opening could not be recorded");
        }
    };
    match Arc::clone(&face.recording).try_acquire_owned() {
        Ok(turn) => {
            tokio::spawn(async move {
                recording.await;
                drop(turn);
            });
        }
        Err(_) => recording.await,
    }
}

/// Waits until what was answered is recorded, for as long as a stop may take.
pub(super) async fn finish(face: &Face) {
    let all = u32::try_from(RECORDINGS).unwrap_or(u32::MAX);
    let recording: &Semaphore = &face.recording;
    let _ = timeout(face.settings.drain_timeout, recording.acquire_many(all)).await;
}
