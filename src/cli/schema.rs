//! `bellwire schema`: what editors need to complete and check a file.

use std::process::ExitCode;

use bellwire::model::workflow::SCHEMA;
use clap::Subcommand;

use super::{Failure, say};

#[derive(Subcommand)]
pub(super) enum Command {
    /// That of `workflow.json`.
    Workflow,
}

/// Prints the schema.
pub(super) fn print(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Workflow => say(SCHEMA.trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}
