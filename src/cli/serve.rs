//! `bellwire serve` and `bellwire dev`: start, wait for the word to stop, drain.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use bellwire::app::{App, Mode};
use bellwire::config::{Config, LogFormat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

#[cfg(feature = "otel")]
use super::spans::Spans;
use super::{Development, Failure, Place, samples, say};

/// The code of a process that was interrupted.
const INTERRUPTED: u8 = 130;

pub(super) fn serve(place: &Place, log: Option<LogFormat>) -> Result<ExitCode, Failure> {
    let config = place.load().map_err(|problems| Failure::problems(&problems))?;
    run(config, Mode::Serve, log)
}

pub(super) fn develop(asked: Development, log: Option<LogFormat>) -> Result<ExitCode, Failure> {
    let mut config = asked.place.load().map_err(|problems| Failure::problems(&problems))?;
    if let Some(port) = asked.port {
        config.server.listen.set_port(port);
    }
    if !config.server.listen.ip().is_loopback() {
        return Err(Failure(format!(
            "Development mode shows its keys, so it listens on this machine only, not on {}: use `bellwire serve`, or 127.0.0.1.",
            config.server.listen
        )));
    }
    let dir = &config.workflows.dir;
    // One that somebody has named is theirs to make.
    if *dir == Config::default().workflows.dir && !dir.exists() {
        let failed =
            |error| Failure(format!("The sample workflows could not be written to {}: {error}", dir.display()));
        samples::write(dir).map_err(failed)?;
        say(format!("Wrote sample workflows to {}.", dir.display()))?;
    }
    config.limits.enabled = false;
    for settings in config.environments.values_mut() {
        settings.enhanced_security = false;
    }
    run(config, Mode::Development, log)
}

fn run(config: Config, mode: Mode, log: Option<LogFormat>) -> Result<ExitCode, Failure> {
    let format = log.unwrap_or(if mode == Mode::Development { LogFormat::Text } else { config.log.format });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    #[cfg(feature = "otel")]
    let spans = config.telemetry.otlp_endpoint.as_deref();
    #[cfg(feature = "otel")]
    let spans = spans.map(|at| Spans::start(at, &config.telemetry, runtime.handle().clone())).transpose()?;
    // What the driver says of statements bears their parameters, and what the database says is told where it matters.
    let filter = config.log.level.parse::<EnvFilter>()?.add_directive("tokio_postgres=error".parse()?);
    let layers = tracing_subscriber::registry().with(filter);
    #[cfg(feature = "otel")]
    let layers = layers.with(spans.as_ref().map(Spans::layer));
    layers.with(lines(format)).init();
    open_many();
    let done = runtime.block_on(until_stopped(config, mode));
    #[cfg(feature = "otel")]
    spans.into_iter().for_each(Spans::stop);
    // What outlived its time is not waited for.
    runtime.shutdown_background();
    done
}

async fn until_stopped(config: Config, mode: Mode) -> Result<ExitCode, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let app = App::start(config, mode).await?;
    info!("listening on {}", app.address());
    if mode == Mode::Development {
        welcome(&app)?;
    }
    asked_to_stop(&mut interrupt, &mut terminate).await;
    info!("stopping");
    tokio::select! {
        _ = app.drain() => Ok(ExitCode::SUCCESS),
        () = asked_to_stop(&mut interrupt, &mut terminate) => {
            warn!("stopped at once, as asked a second time");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

async fn asked_to_stop(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Lets as many files be open as this user may have: each socket is one, and many systems begin with 1,024. Nothing in
/// a container or a pod could do it beforehand.
fn open_many() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warn!(%error, "the limit of open files, of which each socket is one, could not be raised from {current:?}");
    }
}

/// Writes what is said, line by line.
fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    match format {
        // `spans` says on whose behalf: from the request or the job to the run.
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(true).boxed(),
        LogFormat::Text => lines.with_target(false).with_ansi(io::stderr().is_terminal()).boxed(),
    }
}

/// Tells a developer what to do next.
fn welcome(app: &App) -> Result<(), Failure> {
    let Some(identity) = app.identity() else { return Ok(()) };
    let is_terminal = io::stdout().is_terminal();
    let paint = |code: &str, text: &str| {
        if is_terminal { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let (bold, dim) = (|text: &str| paint("1", text), |text: &str| paint("2", text));
    let workflows = app.workflows();
    say("")?;
    say(format!("  {}  {}", paint("1;35", "Bellwire"), dim("development")))?;
    say("")?;
    say(format!("  {}  {}", dim("Open        "), bold(app.origin())))?;
    say(format!("  {}  {}", dim("Public key  "), identity.public_key))?;
    say(format!("  {}  {}", dim("Secret key  "), identity.secret_key))?;
    say(format!(
        "  {}  {} {}",
        dim("Signing key "),
        identity.signing_key.secret,
        dim(&format!("(hs256, kid {})", identity.signing_key.kid))
    ))?;
    let keys: Vec<&str> = workflows.iter().map(|workflow| workflow.key.as_str()).collect();
    let told =
        if keys.is_empty() { "none yet: each is a directory with a workflow.json".to_owned() } else { keys.join(", ") };
    say(format!("  {}  {told}", dim("Workflows   ")))?;
    if let Some(first) = workflows.first() {
        say("")?;
        say(format!("  {}", dim("Ring a bell:")))?;
        say("")?;
        for line in identity.curl(app.origin(), first).lines() {
            say(format!("  {line}"))?;
        }
    }
    say("")?;
    say(format!("  {}", dim("Workflows are read again when they change. Ctrl-C stops.")))?;
    say("")
}
