//! `bellwire check`: everything that is wrong, told at once.

use std::process::ExitCode;

use bellwire::app::plan::Project;
use bellwire::config::workflows::Problem;
use bellwire::model::channel::ChannelKind;

use super::{Failure, Place, say};

/// Reads all that the server would read.
pub(super) fn check(place: &Place) -> Result<ExitCode, Failure> {
    let mut config = match place.load() {
        Ok(config) => config,
        Err(problems) => return tell(&problems),
    };
    let Project { workflows, channels } = match Project::read(&mut config) {
        Ok(project) => project,
        Err(problems) => return tell(&problems),
    };
    for channel in channels.iter().filter(|channel| channel.kind != ChannelKind::InAppFeed) {
        say(format!(
            "Note: channel `{}` is of type {}, which this version does not deliver; steps on it are skipped.",
            channel.key, channel.kind
        ))?;
    }
    say(format!(
        "All is well: {}, {} and {} in {}.",
        counted(config.environments.len(), "environment"),
        counted(channels.len(), "channel"),
        counted(workflows.len(), "workflow"),
        config.workflows.dir.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Says what is wrong.
pub(super) fn tell(problems: &[Problem]) -> Result<ExitCode, Failure> {
    for problem in problems {
        say(problem)?;
    }
    say(format!("{} to solve.", counted(problems.len(), "problem")))?;
    Ok(ExitCode::FAILURE)
}

/// A number with its noun.
pub(super) fn counted<N: PartialEq + From<u8> + std::fmt::Display>(count: N, what: &str) -> String {
    format!("{count} {what}{}", if count == N::from(1) { "" } else { "s" })
}
