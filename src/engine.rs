//! Workflow runs: what happens next, and making it happen.
