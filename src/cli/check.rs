//! `bellwire check`: everything that is wrong, told at once.

use std::process::ExitCode;

use bellwire::config::workflows;
use bellwire::model::channel::ChannelKind;

use super::{Failure, Place, say};

/// Reads all that the server would read.
pub(super) fn check(place: &Place) -> Result<ExitCode, Failure> {
    let config = match place.load() {
        Ok(config) => config,
        Err(problems) => return tell(&problems),
    };
    let dir = config.workflows.dir;
    let channels: Vec<_> = config.channels.into_iter().map(|declared| declared.channel).collect();
    let loaded = match workflows::load(&dir, &channels) {
        Ok(loaded) => loaded,
        Err(problems) => return tell(&problems),
    };
    let doubts = workflows::doubts(&dir, &loaded, &channels, &config.channel_groups);
    if !doubts.is_empty() {
        return tell(&doubts);
    }
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
        counted(loaded.len(), "workflow"),
        dir.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn tell(problems: &[bellwire::config::workflows::Problem]) -> Result<ExitCode, Failure> {
    for problem in problems {
        say(problem)?;
    }
    say(format!("{} to solve.", counted(problems.len(), "problem")))?;
    Ok(ExitCode::FAILURE)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
