//! What makes frames flow: triggers at the server, records at the bare program, at a pace.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use crate::bare::record::{Record, Store};
use crate::bare::redis;
use crate::http::Pool;
use crate::letters::Letters;
use crate::progress::Progress;
use crate::server;
use crate::target::Target;
use crate::watch::{Watch, marker};

/// Connections that carry triggers when the pace is not the callers'.
const CONNECTIONS: u32 = 64;
/// The timer may wake a millisecond late: it is trusted only so far, the rest is spun.
const GRAIN: Duration = Duration::from_millis(2);

/// Sends publishes to a target without waiting for what they bring.
#[derive(Debug)]
pub(crate) struct Publisher {
    way: Way,
    failures: Rc<Failures>,
}

#[derive(Debug)]
enum Way {
    Http(Pool),
    Control { stream: TcpStream, store: Store, frame_bytes: usize, buffer: Vec<u8> },
    Redis { stream: OwnedWriteHalf, frame_bytes: usize, buffer: Vec<u8> },
    Letters { stream: OwnedWriteHalf, letters: Box<Letters>, buffer: Vec<u8> },
}

/// Requests that were not answered with success.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: Cell<u64>,
    first: RefCell<Option<String>>,
}

impl Failures {
    pub(crate) fn note(&self, error: &anyhow::Error) {
        self.count.set(self.count.get() + 1);
        self.first.borrow_mut().get_or_insert_with(|| format!("{error:#}"));
    }

    /// A figure over failed requests is none.
    pub(crate) fn require_none(&self) -> Result<()> {
        match (self.count.get(), self.first.borrow().as_deref()) {
            (0, _) => Ok(()),
            (count, first) => bail!("{count} requests failed; the first: {}", first.unwrap_or_default()),
        }
    }
}

impl Publisher {
    /// For the bare program, `store` says what it does before a push and `frame_bytes` how large its frames are.
    pub(crate) async fn open(target: &Target, store: Store, frame_bytes: usize) -> Result<Publisher> {
        if let Some(bus) = target.bus().filter(|_| store == Store::Nothing) {
            let way = Way::Redis { stream: voice(bus).await?, frame_bytes, buffer: Vec::new() };
            return Ok(Publisher { way, failures: Rc::default() });
        }
        let way = match (target.pool(CONNECTIONS).await?, target.control()) {
            (Some(pool), _) => Way::Http(pool),
            (None, Some(address)) => {
                let stream =
                    TcpStream::connect(address).await.context("cannot reach the bare program's control port")?;
                stream.set_nodelay(true)?;
                Way::Control { stream, store, frame_bytes, buffer: Vec::new() }
            }
            (None, None) => bail!("the target takes no orders"),
        };
        Ok(Publisher { way, failures: Rc::default() })
    }

    /// Publishes letters at a Redis, in the nodes' stead.
    pub(crate) async fn of_letters(bus: &str, letters: Letters) -> Result<Publisher> {
        let way = Way::Letters { stream: voice(bus).await?, letters: Box::new(letters), buffer: Vec::new() };
        Ok(Publisher { way, failures: Rc::default() })
    }

    pub(crate) fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Has every one of `users` told once, by frames that stand for the time `at`.
    pub(crate) async fn publish(&mut self, users: &[u32], at: u64) -> Result<()> {
        match &mut self.way {
            Way::Http(pool) => {
                let mut connection = pool.take().await?;
                let (path, body) = (server::trigger_path(server::WORKFLOW), trigger_body(users, at));
                let (pool, failures) = (pool.clone(), Rc::clone(&self.failures));
                tokio::task::spawn_local(async move {
                    match connection.call(Method::POST, &path, body).await {
                        Ok(_) => {}
                        Err(error) => failures.note(&error),
                    }
                    pool.put(connection);
                });
                self.failures.require_none()
            }
            Way::Control { stream, store, frame_bytes, buffer } => {
                buffer.clear();
                for user in users {
                    let text = bare_text(*user, at, *frame_bytes);
                    Record { store: *store, user: *user, text: text.as_bytes() }.write(buffer);
                }
                Ok(stream.write_all(buffer).await?)
            }
            Way::Redis { stream, frame_bytes, buffer } => {
                buffer.clear();
                for user in users {
                    let text = bare_text(*user, at, *frame_bytes);
                    redis::command(buffer, &[b"PUBLISH", redis::channel(*user).as_bytes(), text.as_bytes()]);
                }
                Ok(stream.write_all(buffer).await?)
            }
            Way::Letters { stream, letters, buffer } => {
                buffer.clear();
                for user in users {
                    letters.publish(buffer, *user, at);
                }
                Ok(stream.write_all(buffer).await?)
            }
        }
    }
}

/// A connection to a Redis whose answers nobody reads: they say how many heard.
async fn voice(bus: &str) -> Result<OwnedWriteHalf> {
    let stream = TcpStream::connect(bus).await.context("cannot reach Redis")?;
    stream.set_nodelay(true)?;
    let (mut answers, stream) = stream.into_split();
    tokio::task::spawn_local(async move {
        let mut scratch = vec![0; 1 << 14];
        while answers.read(&mut scratch).await.is_ok_and(|read| read > 0) {}
    });
    Ok(stream)
}

/// A trigger for `users` whose items carry the marker of `at`.
pub(crate) fn trigger_body(users: &[u32], at: u64) -> String {
    let recipients: Vec<String> = users.iter().map(|user| server::name(*user)).collect();
    json!({"recipients": recipients, "data": {"at": marker(at), "build": "1734"}}).to_string()
}

/// The bare program's frame: as long as the server's, with the same marker.
fn bare_text(user: u32, at: u64, length: usize) -> String {
    let mut text =
        format!(r#"["1",null,"feeds:bare:u{user}","feed.delta",{{"at":"{}","items":[{{"body":""#, marker(at));
    let end = r#""}]}]"#;
    let pad = length.saturating_sub(text.len() + end.len());
    text.extend(std::iter::repeat_n('a', pad));
    text.push_str(end);
    text
}

/// A round of users, `batch` at a time, over and over.
#[derive(Debug)]
pub(crate) struct Rota {
    users: u32,
    next: u32,
    batch: Vec<u32>,
}

impl Rota {
    pub(crate) fn new(users: u32, batch: u32) -> Rota {
        Rota { users, next: 0, batch: vec![0; batch.min(users).max(1) as usize] }
    }

    pub(crate) fn next(&mut self) -> &[u32] {
        for user in &mut self.batch {
            *user = self.next;
            self.next = (self.next + 1) % self.users;
        }
        &self.batch
    }

    pub(crate) fn batch(&self) -> u64 {
        self.batch.len() as u64
    }
}

/// Publishes for `seconds` as fast as deliveries come back, with at most `window` under way. Answers how many were due.
pub(crate) async fn flood(
    publisher: &mut Publisher,
    watch: &Watch,
    rota: &mut Rota,
    per_user: u32,
    window: u32,
    seconds: u32,
    progress: &Progress,
) -> Result<u64> {
    let each = rota.batch() * u64::from(per_user);
    let window = u64::from(window).max(each);
    let until = Instant::now() + Duration::from_secs(seconds.into());
    let (mut due, mut stalled) = (0, 0);
    while Instant::now() < until {
        if due + each <= watch.delivered() + window {
            publisher.publish(rota.next(), watch.now()).await?;
            due += each;
            progress.at(watch.delivered());
            stalled = 0;
            // Let the sockets be read even while there is room for more.
            tokio::task::yield_now().await;
            continue;
        }
        let before = watch.delivered();
        watch.arrival(due + each - window, Duration::from_millis(500)).await;
        stalled = if watch.delivered() == before { stalled + 1 } else { 0 };
        if stalled > 10 {
            bail!("deliveries have stopped: {due} were due, {before} came");
        }
    }
    Ok(due)
}

/// Publishes at a fixed rate, whatever comes back: each publish stands for the time it was due, late or not, so that a
/// stall counts against everything it held up. Answers how many publishes were due.
pub(crate) async fn pace(
    watch: &Watch,
    per_second: f64,
    seconds: u32,
    progress: &Progress,
    mut publish: impl AsyncFnMut(u64) -> Result<()>,
) -> Result<u64> {
    let began = watch.now();
    let total = (per_second * f64::from(seconds)).round().max(1.0) as u64;
    for number in 0..total {
        let at = began + (number as f64 / per_second * 1e9) as u64;
        if Duration::from_nanos(at.saturating_sub(watch.now())) > GRAIN {
            tokio::time::sleep_until((watch.instant(at) - GRAIN).into()).await;
        }
        while watch.now() < at {
            // Every turn also reads the sockets.
            tokio::task::yield_now().await;
        }
        publish(at).await?;
        if number % 64 == 0 {
            progress.at(watch.delivered());
            tokio::task::yield_now().await;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_frame_has_the_length_asked_for_and_one_marker() {
        let text = bare_text(7, 1, 900);
        assert_eq!(text.len(), 900);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        assert_eq!(text.matches('@').count(), 1);
    }

    #[test]
    fn a_rota_visits_every_user_before_it_begins_again() {
        let mut rota = Rota::new(5, 2);
        let seen: Vec<u32> = (0..5).flat_map(|_| rota.next().to_vec()).collect();
        assert_eq!(seen, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    }
}
