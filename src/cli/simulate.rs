//! `bellwire simulate`: what a workflow would do, step by step, without a server and without waiting.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bellwire::app::simulation::{Entry, Simulation};
use bellwire::model::time::Time;
use bellwire::wire::duration::Duration;
use clap::Args;
use serde_json::{Map, Value, json};

use super::timeline::{Timeline, clock};
use super::{Failure, Place, say};

/// When the clock stands at the beginning, if nothing else is said: a Monday.
const START: &str = "2026-01-05T09:00:00Z";

#[derive(Args)]
#[command(after_help = AFTER)]
pub(super) struct Asked {
    /// The key of the workflow.
    workflow: String,
    /// A file with the body of a trigger, as JSON, or a list of several; `-` reads standard input.
    #[arg(long = "event", value_name = "FILE", required = true)]
    events: Vec<PathBuf>,
    /// A file with a recipient, or a list of several, as triggers identify them inline.
    #[arg(long = "recipient", value_name = "FILE")]
    recipients: Vec<PathBuf>,
    /// A file with what another server answers to an `http_fetch` step, or a list of several answers.
    #[arg(long = "answer", value_name = "FILE")]
    answers: Vec<PathBuf>,
    /// How far the clock is turned on after the last event: 90s, 30m, 1h, 7d, 2w [default: not at all].
    #[arg(long, value_name = "DURATION")]
    advance: Option<String>,
    /// When it begins.
    #[arg(long, value_name = "TIME", default_value = START)]
    at: String,
    /// The environment whose settings count.
    #[arg(long, value_name = "SLUG", default_value = "development")]
    env: String,
    /// Print the timeline as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

const AFTER: &str = "\
An event is the body of a trigger: {\"recipients\": [\"ann\"], \"data\": {..}}. Without `recipients` it goes to everybody whom
--recipient names. Beside it an event may say
  \"after\": \"10m\"          how long after the one before it happens
  \"workflow\": \"other\"     that another workflow is triggered
  \"cancel\": \"key\"         that it cancels the runs that carry this key, of the `recipients` named or of all
  \"identify\": {\"id\": ..}   that somebody changes
  \"join\": \"audience\"      that the `user` named, an id or an object with one, joins it, under a `tenant` or none
  \"leave\": \"audience\"     that they leave it
  \"source\": \"key\"         that an event of this source arrives, with the `body` and the `headers` given
Whom --recipient names is a member of dynamic audiences from the beginning; whoever comes to be one later joins.

Nobody is called: a step that fetches gets the answer whose `url` is its own, or fails. {\"url\": \"https://api.example.com/me\",
\"status\": 200, \"body\": {..}} may also say the `method`; a `url` with * at its end fits all that begin so. Of several that fit,
each is given once, in turn, and the last from then on.

The same input gives the same timeline. What is made by chance, as ids are, has a name instead: id-1, id-2.";

/// Plays the events and prints what comes of them.
pub(super) async fn simulate(asked: &Asked) -> Result<ExitCode, Failure> {
    let config = asked.place.load().map_err(|problems| Failure::problems(&problems))?;
    let at = Time::parse(&asked.at);
    let at = at.ok_or_else(|| Failure(format!("--at: `{}` is not an ISO-8601 time", asked.at)))?;
    let advance = asked.advance.as_deref().map(|text| span(text, "--advance")).transpose()?;
    let events = documents(&asked.events)?;
    let mut simulation = Simulation::new(config, &asked.env, at).await?;
    simulation.find(&asked.workflow).map_err(Failure)?;
    simulation.answer(&documents(&asked.answers)?).map_err(Failure)?;
    let mut everybody = Vec::new();
    for recipient in documents(&asked.recipients)? {
        everybody.push(json!(simulation.introduce(&recipient).await.map_err(Failure)?));
    }
    simulation.begin().await.map_err(Failure)?;
    let mut shown = Shown { is_json: asked.json, entries: Vec::new(), timeline: Timeline::default() };
    for mut event in events {
        if let Some(after) = event.get("after").and_then(Value::as_str) {
            let until = later(simulation.now(), &span(after, "`after`")?)?;
            shown.show(simulation.work_until(until).await.map_err(Failure)?)?;
        }
        let workflow = event.get("workflow").and_then(Value::as_str).unwrap_or(&asked.workflow).to_owned();
        simulation.find(&workflow).map_err(Failure)?;
        let Some(members) = event.as_object_mut() else {
            return Err(Failure(format!("an event is an object, as the body of a trigger: {event}")));
        };
        members.remove("after");
        members.remove("workflow");
        let happened = play(&mut simulation, &workflow, std::mem::take(members), &everybody).await;
        shown.show(happened.map_err(Failure)?)?;
    }
    if let Some(advance) = advance {
        let until = later(simulation.now(), &advance)?;
        shown.show(simulation.work_until(until).await.map_err(Failure)?)?;
    }
    shown.end(simulation.now())?;
    Ok(ExitCode::SUCCESS)
}

/// Has one event happen.
async fn play(
    simulation: &mut Simulation,
    workflow: &str,
    mut event: Map<String, Value>,
    everybody: &[Value],
) -> Result<Vec<Entry>, String> {
    let words = ["cancel", "identify", "join", "leave", "source"];
    let Some(word) = words.into_iter().find(|word| event.contains_key(*word)) else {
        event.entry("recipients").or_insert_with(|| everybody.into());
        return simulation.trigger(workflow, event.into()).await;
    };
    let mut part = |name: &str| event.remove(name).unwrap_or_default();
    let what = part(word);
    let text = || what.as_str().ok_or_else(|| format!("`{word}` must be a text: {what}"));
    match word {
        "cancel" => {
            let body = json!({"cancellation_key": what, "recipients": part("recipients")});
            simulation.cancel(workflow, &body).await
        }
        "identify" => simulation.identify(&what).await,
        "join" | "leave" => simulation.member(word == "join", text()?, &part("user"), &part("tenant")).await,
        _ => {
            let headers = part("headers").as_object().cloned().unwrap_or_default();
            simulation.arrive(text()?, part("body"), headers).await
        }
    }
}

/// The documents in these files; a list counts as its items.
fn documents(files: &[PathBuf]) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    for file in files {
        let text = match file.as_path() == Path::new("-") {
            true => std::io::read_to_string(std::io::stdin()),
            false => std::fs::read_to_string(file),
        };
        let text = text.map_err(|error| Failure(format!("{} can't be read: {error}.", file.display())))?;
        match serde_json::from_str(&text) {
            Ok(Value::Array(items)) => all.extend(items),
            Ok(document) => all.push(document),
            Err(error) => return Err(Failure(format!("{} is not JSON: {error}.", file.display()))),
        }
    }
    Ok(all)
}

fn span(text: &str, name: &str) -> Result<Duration, Failure> {
    Duration::parse_short(text).map_err(|fault| Failure(format!("{name}: {fault}")))
}

fn later(now: Time, span: &Duration) -> Result<Time, Failure> {
    let zone = jiff::tz::TimeZone::UTC;
    span.after(now, &zone).ok_or_else(|| Failure(format!("{span} is out of any calendar")))
}

/// What has been shown.
struct Shown {
    is_json: bool,
    entries: Vec<Entry>,
    timeline: Timeline,
}

impl Shown {
    fn show(&mut self, entries: Vec<Entry>) -> Result<(), Failure> {
        if self.is_json {
            self.entries.extend(entries);
            return Ok(());
        }
        entries.iter().try_for_each(|entry| self.timeline.line(entry))
    }

    fn end(&mut self, now: Time) -> Result<(), Failure> {
        if self.is_json {
            return say(serde_json::to_string_pretty(&json!({"ended_at": now, "timeline": self.entries}))?);
        }
        self.timeline.date(now)?;
        say(format!("{}  the end", clock(now)))
    }
}
