//! The bar that shows how far a run is.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on the error stream; silent when that is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        let bar = ProgressBar::new(1);
        let style = ProgressStyle::with_template("{elapsed_precise} {bar:28} {pos:>7}/{len:<7} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Progress { bar }
    }

    /// Begins a part of `length` steps.
    pub(crate) fn part(&self, what: impl Into<String>, length: u64) {
        self.bar.set_length(length.max(1));
        self.bar.set_position(0);
        self.bar.set_message(what.into());
    }

    pub(crate) fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Takes the bar away, before the report is printed.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
