//! `bellwire check`: everything that is wrong, told at once.

use std::process::ExitCode;

use bellwire::app::plan::Project;
use bellwire::config::WorkflowsFrom;
use bellwire::config::workflows::Problem;
use bellwire::model::channel::{Channel, ChannelKind};

use super::{Failure, Place, say};

/// Reads all that the server would read.
pub(super) fn check(place: &Place) -> Result<ExitCode, Failure> {
    let mut config = match place.load() {
        Ok(config) => config,
        Err(problems) => return tell(&problems),
    };
    // Nodes that have their workflows from the database read no files.
    let reads_files = config.workflows.from == WorkflowsFrom::Files || place.workflows.is_some();
    let read = if reads_files { Project::read(&mut config) } else { Ok(Project::without_files(&mut config)) };
    let Project { workflows, audiences, sources, caps, guides, channels } = match read {
        Ok(project) => project,
        Err(problems) => return tell(&problems),
    };
    let is_served = |channel: &Channel| matches!(channel.kind, ChannelKind::InAppFeed | ChannelKind::InAppGuide);
    for channel in channels.iter().filter(|channel| !is_served(channel)) {
        say(format!(
            "Note: channel `{}` is of type {}, which this version does not deliver; steps on it are skipped.",
            channel.key, channel.kind
        ))?;
    }
    for (slug, settings) in &config.environments {
        for key in sources.unprovable(settings) {
            say(format!(
                "Note: source `{key}` has no secret in environment `{slug}`; its events are refused there, until \
                 `source_secrets` has one."
            ))?;
        }
    }
    let mut found = vec![counted(config.environments.len(), "environment"), counted(channels.len(), "channel")];
    for (count, what) in [
        (audiences.all().count(), "audience"),
        (sources.all().count(), "source"),
        (caps.all().count(), "cap"),
        (guides.all().count(), "guide"),
    ] {
        found.extend((count > 0).then(|| counted(count, what)));
    }
    let (found, count, dir) = (found.join(", "), counted(workflows.len(), "workflow"), config.workflows.dir.display());
    say(match reads_files {
        true => format!("All is well: {found} and {count} in {dir}."),
        false => format!("All is well: {found}; the workflows are those in the database."),
    })?;
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
