//! Durable jobs and timers: claim, run, back off, give up.
