//! What a node does whose wall clock is wrong: it goes by the database's, as all nodes do.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwire::clock::Clock;
use bellwire::sign::issue::sign_hs256;
use hyper::Method;
use serde_json::json;
use tokio::time::sleep;

use super::town::{Bus, Node, STUCK, Town};
use crate::process::{CHANNEL, Process, get};

const HOUR: i64 = 3_600;
/// How wrong a time may be: a job that was claimed is due again half a minute later.
const NEAR: i64 = 60;

/// Signs user tokens.
pub struct Seal {
    secret: Vec<u8>,
    kid: String,
}

impl Seal {
    /// One that the nodes of `process`'s database know.
    pub fn made_by(process: &Process) -> Seal {
        let key = process.create_key("development", &["--kind", "signing"]);
        let text = |name: &str| key[name].as_str().expect("a signing key");
        Seal { secret: URL_SAFE_NO_PAD.decode(text("secret")).unwrap(), kid: text("kid").to_owned() }
    }

    /// A token that ends so many seconds from now.
    fn token(&self, user: &str, ends_in: i64) -> String {
        sign_hs256(&json!({"sub": user, "exp": now() + ends_in}), &self.secret, Some(&self.kid))
    }
}

/// The right time, in seconds.
fn now() -> i64 {
    Clock::system().now().micros().div_euclid(1_000_000)
}

impl Town {
    /// Sets the wall clock of a node so far ahead, or behind, and waits until the node says so: it knows the time
    /// meanwhile, and then.
    pub async fn set_wall_clock(&self, at: usize, seconds: i64) {
        let Node { process, clock, .. } = &self.nodes[at];
        let said = || {
            let log = process.whole_log();
            let off = log.split("ahead_seconds=").skip(1).map(|rest| rest.lines().next().unwrap_or_default().parse());
            off.filter(|off| off.as_ref().is_ok_and(|off: &i64| (off - seconds).abs() < NEAR)).count()
        };
        let before = said();
        clock.set(seconds);
        let began = Instant::now();
        while said() == before {
            assert!(began.elapsed() < STUCK, "it does not say that its clock was set:\n{}", process.tail());
            self.knows_the_time(at).await;
            sleep(Duration::from_millis(100)).await;
        }
        self.knows_the_time(at).await;
    }

    /// A node takes the tokens that are good and no others, and no timer or claim is due at a time that is wrong.
    async fn knows_the_time(&self, at: usize) {
        let process = &self.nodes[at].process;
        for (ends_in, expected) in [(HOUR / 6, "200"), (-HOUR / 6, "401")] {
            let (public, token) = (&process.public, self.seal.token("nobody", ends_in));
            let headers =
                format!("host: localhost\r\nauthorization: Bearer {public}\r\nx-knock-user-token: {token}\r\n");
            let (head, body) = get(process.address, &format!("/v1/users/nobody/feeds/{CHANNEL}"), &headers).await;
            let status = head.split(' ').nth(1).unwrap_or_default();
            assert_eq!(status, expected, "a token that ends in {ends_in} s: {body}");
        }
        let body = json!({"recipients": ["nobody"], "data": {"name": "timer"}});
        let reply = process.call(Method::POST, "/v1/workflows/later/trigger", body).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?}");
        let wrong = format!(
            "SELECT kind, subject, lease, due_at - (extract(epoch FROM now()) * 1e6)::bigint FROM jobs \
             WHERE abs(due_at / 1000000 - extract(epoch FROM now())) > {NEAR}"
        );
        let wrong = self.ask(&wrong).await;
        assert!(wrong.is_empty(), "jobs are due at times that are wrong: {wrong:?}");
    }
}

/// A node whose clock was an hour ahead refused good tokens and claimed jobs for an hour; one whose clock was behind took
/// tokens that had ended, and left timers to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_wall_clock_is_wrong_knows_the_time() {
    let town = Town::found(Bus::One).await;
    for seconds in [HOUR, -HOUR] {
        town.set_wall_clock(0, seconds).await;
        until_its_timers_have_rung(&town).await;
    }
}

/// Waits until nothing is to be done any more.
async fn until_its_timers_have_rung(town: &Town) {
    let began = Instant::now();
    while !town.ask("SELECT id FROM jobs").await.is_empty() {
        assert!(began.elapsed() < STUCK, "a timer does not ring");
        sleep(Duration::from_millis(50)).await;
    }
}
