//! One run: what its scenario shares, and how the sides take turns.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use crate::machine::{self, Noise};
use crate::options::Common;
use crate::process::Scratch;
use crate::progress::Progress;
use crate::target::Side;

/// What a scenario works with.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) common: Common,
    pub(crate) progress: Progress,
    pub(crate) scratch: Scratch,
    /// The size of the bare program's frames: as asked, until the server's own have been seen.
    pub(crate) frame_bytes: Cell<u32>,
}

/// A quantity with its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
}

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// What one side reached in one round.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) values: Vec<(Figure, f64)>,
    pub(crate) noise: Noise,
    pub(crate) latency: Option<Histogram<u64>>,
}

/// What a scenario found out.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) sides: Vec<(Side, Vec<Round>)>,
    pub(crate) notes: Vec<String>,
}

impl Run {
    /// An empty directory for one side's turn.
    pub(crate) fn room(&self, side: Side) -> Result<PathBuf> {
        self.scratch.room(side.name())
    }

    /// Which sides take part.
    pub(crate) fn sides(&self) -> &'static [Side] {
        if self.common.bare_only { &[Side::Bare] } else { &[Side::Bellwire, Side::Bare] }
    }

    /// Has each side take its turn in every round. The first turn is the server's, which shows how large its frames are;
    /// later rounds begin with the other side in turn, so that neither always runs on the warmer machine.
    pub(crate) async fn interleave(
        &self,
        scenario: &str,
        mut turn: impl AsyncFnMut(Side) -> Result<Round>,
    ) -> Result<Outcome> {
        let mut sides: Vec<(Side, Vec<Round>)> = self.sides().iter().map(|side| (*side, Vec::new())).collect();
        for round in 0..self.common.rounds {
            let count = sides.len();
            for place in 0..count {
                self.progress.part("waiting for a quiet machine", 1);
                machine::await_quiet(Duration::from_secs(self.common.quiet_wait)).await?;
                let (side, rounds) = &mut sides[(place + round as usize) % count];
                let done = turn(*side).await;
                rounds.push(done.with_context(|| format!("{scenario}, {}, round {}", side.name(), round + 1))?);
            }
        }
        Ok(Outcome { scenario: scenario.to_owned(), sides, notes: Vec::new() })
    }
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Bellwire => "bellwire",
            Side::Bare => "bare",
        }
    }
}

impl Round {
    pub(crate) fn more(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        self.values.push((Figure { name: name.into(), unit, better: Better::Higher }, value));
    }

    pub(crate) fn less(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        self.values.push((Figure { name: name.into(), unit, better: Better::Lower }, value));
    }

    /// The usual percentiles of a latency in microseconds. The first that is reported is the one in the picture.
    pub(crate) fn percentiles(&mut self, name: &str, latency: Histogram<u64>) {
        for (label, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            self.less(format!("{name} {label}"), "ms", latency.value_at_quantile(quantile) as f64 / 1_000.0);
        }
        self.latency.get_or_insert(latency);
    }

    pub(crate) fn disturbed(&mut self, noise: Noise) {
        self.noise = self.noise.worst(noise);
    }
}
