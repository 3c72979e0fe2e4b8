//! `bellwire simulate`: what a workflow would do, step by step, without a server and without waiting.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bellwire::app::simulation::{Entry, Simulation};
use bellwire::model::invalid::unknown;
use bellwire::model::time::Time;
use bellwire::verbs::trigger::{MEMBERS, SETTINGS};
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

What nobody understands is refused. The same input gives the same timeline. What is made by chance, as ids are, has a name instead: id-1, id-2.";

/// Plays the events and prints what comes of them.
pub(super) async fn simulate(asked: &Asked) -> Result<ExitCode, Failure> {
    let config = asked.place.load().map_err(|problems| Failure::problems(&problems))?;
    let at = Time::parse(&asked.at);
    let at = at.ok_or_else(|| Failure(format!("--at: `{}` is not an ISO-8601 time", asked.at)))?;
    let advance = asked.advance.as_deref().map(|text| span(text, "--advance")).transpose()?;
    let events = documents(&asked.events)?.into_iter().map(|(place, event)| Event::read(event, &place));
    let events = events.collect::<Result<Vec<_>, _>>()?;
    let mut simulation = Simulation::new(config, &asked.env, at).await?;
    simulation.find(&asked.workflow).map_err(Failure)?;
    let answers: Vec<Value> = documents(&asked.answers)?.into_iter().map(|(_, answer)| answer).collect();
    simulation.answer(&answers).map_err(Failure)?;
    let mut everybody = Vec::new();
    for (place, recipient) in documents(&asked.recipients)? {
        must_be_profile(&recipient, &place)?;
        everybody.push(json!(simulation.introduce(&recipient).await.map_err(Failure)?));
    }
    simulation.begin().await.map_err(Failure)?;
    let mut shown = Shown { is_json: asked.json, entries: Vec::new(), timeline: Timeline::default() };
    for event in events {
        if let Some(after) = &event.after {
            let until = later(simulation.now(), after)?;
            shown.show(simulation.work_until(until).await.map_err(Failure)?)?;
        }
        let workflow = event.workflow.as_deref().unwrap_or(&asked.workflow);
        simulation.find(workflow).map_err(Failure)?;
        let happened = play(&mut simulation, workflow, event.kind, event.members, &everybody).await;
        shown.show(happened.map_err(Failure)?)?;
    }
    if let Some(advance) = advance {
        let until = later(simulation.now(), &advance)?;
        shown.show(simulation.work_until(until).await.map_err(Failure)?)?;
    }
    shown.end(simulation.now())?;
    Ok(ExitCode::SUCCESS)
}

/// One event, read.
struct Event {
    after: Option<Duration>,
    workflow: Option<String>,
    /// The word that says what it is; none for a trigger.
    kind: Option<&'static str>,
    members: Map<String, Value>,
}

/// What an event can be besides a trigger, by the word that says so, and what it may say then.
const KINDS: [(&str, &[&str]); 5] = [
    ("cancel", &["recipients", "workflow"]),
    ("identify", &[]),
    ("join", &["user", "tenant"]),
    ("leave", &["user", "tenant"]),
    ("source", &["body", "headers"]),
];

impl Event {
    /// Reads an event out of the file that is named: what it says and nobody understands is refused.
    fn read(event: Value, place: &str) -> Result<Event, Failure> {
        let Value::Object(mut members) = event else {
            return Err(Failure(format!("{place}: an event is an object, as the body of a trigger: {event}")));
        };
        let kind = KINDS.iter().find(|(word, _)| members.contains_key(*word));
        let mut known = vec!["after"];
        match kind {
            Some((word, more)) => known.extend([word].into_iter().chain(*more)),
            None => known.extend(MEMBERS.iter().chain(&["workflow"]).chain(KINDS.iter().map(|(word, _)| word))),
        }
        refuse_unknown(&members, &known, place)?;
        if let Some(settings) = members.get("settings").and_then(Value::as_object) {
            refuse_unknown(settings, &SETTINGS, &format!("{place}: settings"))?;
        }
        if let Some(profile) = members.get("identify") {
            must_be_profile(profile, &format!("{place}: identify"))?;
        }
        if members.get("headers").is_some_and(|headers| !headers.is_object()) {
            return Err(Failure(format!("{place}: `headers` must be an object")));
        }
        let mut text = |name: &str| match members.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Failure(format!("{place}: `{name}` must be a text: {other}"))),
        };
        let (after, workflow) = (text("after")?, text("workflow")?);
        let after = after.map(|text| span(&text, &format!("{place}: `after`"))).transpose()?;
        Ok(Event { after, workflow, kind: kind.map(|(word, _)| *word), members })
    }
}

fn refuse_unknown(members: &Map<String, Value>, known: &[&str], place: &str) -> Result<(), Failure> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(Failure(format!("{place}: `{name}` {}", unknown(name, known)))),
        None => Ok(()),
    }
}

/// Whatever somebody says of themselves is a property; what only a trigger's recipients have would be lost.
fn must_be_profile(recipient: &Value, place: &str) -> Result<(), Failure> {
    match recipient.get("$trigger_data") {
        Some(_) => {
            Err(Failure(format!("{place}: `$trigger_data` is of the `recipients` of a trigger: it goes into an event")))
        }
        None => Ok(()),
    }
}

/// Has one event happen.
async fn play(
    simulation: &mut Simulation,
    workflow: &str,
    kind: Option<&'static str>,
    mut event: Map<String, Value>,
    everybody: &[Value],
) -> Result<Vec<Entry>, String> {
    let Some(word) = kind else {
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

/// The documents in these files, each with where it stands; a list counts as its items.
fn documents(files: &[PathBuf]) -> Result<Vec<(String, Value)>, Failure> {
    let mut all = Vec::new();
    for file in files {
        let name = file.display();
        let text = match file.as_path() == Path::new("-") {
            true => std::io::read_to_string(std::io::stdin()),
            false => std::fs::read_to_string(file),
        };
        let text = text.map_err(|error| Failure(format!("{name} can't be read: {error}.")))?;
        match serde_json::from_str(&text) {
            Ok(Value::Array(items)) => {
                all.extend(items.into_iter().enumerate().map(|(at, item)| (format!("{name}[{at}]"), item)));
            }
            Ok(document) => all.push((name.to_string(), document)),
            Err(error) => return Err(Failure(format!("{name} is not JSON: {error}."))),
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
