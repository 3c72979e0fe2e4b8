//! `bellwire check`: everything that is wrong, told at once.

use std::process::ExitCode;

use bellwire::config::{project, workflows};
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
    let project = match project::load(&dir, &channels) {
        Ok(project) => project,
        Err(problems) => return tell(&problems),
    };
    let loaded = project.workflows;
    let undeclared = workflows::undeclared_channels(&dir, &loaded, &channels, &config.channel_groups);
    if !undeclared.is_empty() {
        return tell(&undeclared);
    }
    for channel in channels.iter().filter(|channel| channel.kind != ChannelKind::InAppFeed) {
        say(format!(
            "Note: channel `{}` is of type {}, which this version does not deliver; steps on it are skipped.",
            channel.key, channel.kind
        ))?;
    }
    let mut found = vec![counted(config.environments.len(), "environment"), counted(channels.len(), "channel")];
    for (count, what) in [(project.audiences.all().count(), "audience"), (project.sources.all().len(), "source")] {
        found.extend((count > 0).then(|| counted(count, what)));
    }
    let workflows = counted(loaded.len(), "workflow");
    say(format!("All is well: {} and {workflows} in {}.", found.join(", "), dir.display()))?;
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
