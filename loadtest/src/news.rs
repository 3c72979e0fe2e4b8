//! What the Redis between the nodes says of itself: its CPU, its memory, and what waits for its clients.

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bare::redis;
use crate::options::Common;
use crate::run::Round;

/// A Redis that several nodes share.
#[derive(Debug)]
pub(crate) struct Carrier<'a> {
    address: &'a str,
}

/// What it said at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    /// Seconds.
    cpu: f64,
    /// Bytes that it holds, and those that the system counts.
    used: f64,
    resident: f64,
    /// The largest output buffer of a client, of late.
    largest_buffer: f64,
    publishes: f64,
}

impl<'a> Carrier<'a> {
    /// That of a run with several nodes.
    pub(crate) fn of(common: &'a Common) -> Option<Carrier<'a>> {
        let address = common.bus.as_deref().filter(|_| common.nodes > 1)?;
        Some(Carrier { address })
    }

    /// Asks it, over a connection of its own.
    pub(crate) async fn sample(&self) -> Result<Sample> {
        let mut stream = TcpStream::connect(self.address).await.context("cannot reach Redis")?;
        let mut ask = Vec::new();
        redis::command(&mut ask, &[b"INFO", b"all"]);
        stream.write_all(&ask).await?;
        let mut answer = Vec::with_capacity(1 << 14);
        loop {
            if stream.read_buf(&mut answer).await? == 0 {
                bail!("Redis closed instead of saying how it is");
            }
            if let Some((_, words)) = redis::read(&answer) {
                let text = words.first().and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default();
                return Sample::read(text).with_context(|| format!("Redis says: {text}"));
            }
        }
    }
}

impl Sample {
    fn read(info: &str) -> Option<Sample> {
        let field = |name: &str| -> Option<f64> {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
        };
        // There is none before the first.
        let publishes = info.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls=")?.split(',').next());
        Some(Sample {
            cpu: field("used_cpu_sys")? + field("used_cpu_user")?,
            used: field("used_memory")?,
            resident: field("used_memory_rss")?,
            largest_buffer: field("client_recent_max_output_buffer")?,
            publishes: publishes.map_or(Some(0.0), |calls| calls.parse().ok())?,
        })
    }

    /// What it cost to subscribe to so many users since `self`.
    pub(crate) fn subscribed(self, later: Sample, users: u32, round: &mut Round) {
        let per = 10_000.0 / f64::from(users);
        round.less("Redis per 10,000 users: CPU", "ms", (later.cpu - self.cpu) * 1e3 * per);
        round.less("Redis per 10,000 users: memory", "KiB", (later.used - self.used) / 1024.0 * per);
        round.less("Redis per 10,000 users: RSS", "KiB", (later.resident - self.resident) / 1024.0 * per);
    }

    /// What it cost to carry events since `self`.
    pub(crate) fn carried(self, later: Sample, round: &mut Round) {
        let per = 100_000.0 / (later.publishes - self.publishes).max(1.0);
        round.less("Redis per 100,000 events: CPU", "s", (later.cpu - self.cpu) * per);
        round.less("Redis while they pass: memory", "KiB", (later.used - self.used) / 1024.0);
        round.less("Redis while they pass: RSS", "KiB", (later.resident - self.resident) / 1024.0);
        round.less("Redis: largest output buffer of a client", "KiB", later.largest_buffer / 1024.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_is_read_field_by_field() {
        let info = "# Memory\r\nused_memory:1048576\r\nused_memory_human:1.00M\r\nused_memory_rss:2097152\r\n\
                    client_recent_max_output_buffer:20480\r\nused_cpu_sys:1.5\r\nused_cpu_user:0.25\r\n";
        let sample =
            Sample { cpu: 1.75, used: 1_048_576.0, resident: 2_097_152.0, largest_buffer: 20_480.0, publishes: 0.0 };
        assert_eq!(Sample::read(info), Some(sample));
        let busy = format!("{info}cmdstat_publish:calls=42,usec=7\r\n");
        assert_eq!(Sample::read(&busy), Some(Sample { publishes: 42.0, ..sample }));
        assert_eq!(Sample::read("used_memory:1"), None);
    }

    #[test]
    fn costs_are_told_for_round_numbers() {
        let (mut round, before) = (Round::default(), Sample::default());
        before.carried(Sample { cpu: 0.5, publishes: 50_000.0, ..before }, &mut round);
        assert_eq!(round.values[0].1, 1.0);
    }
}
