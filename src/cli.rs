//! Commands: what is asked on the command line, and who answers it.

mod check;
mod health;
mod keys;
mod rows;
mod runs;
mod samples;
mod schema;
mod serve;
mod simulate;
#[cfg(feature = "otel")]
mod spans;
mod timeline;
mod token;
mod workflows;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bellwire::config::channels;
use bellwire::config::workflows::Problem;
use bellwire::config::{Config, LogFormat};
use bellwire::store::environments::EnvironmentRow;
use bellwire::store::{self, Store};
use clap::{Args, Parser, Subcommand};

/// A self-hosted, real-time notification feed that speaks Knock's API.
#[derive(Parser)]
#[command(name = "bellwire", version, about, arg_required_else_help = true, after_help = AFTER)]
struct Cli {
    /// How log lines are written (to standard error).
    #[arg(long, global = true, value_name = "FORMAT")]
    log: Option<LogFormat>,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Every setting is a key of the configuration file (config/bellwire.toml lists them all), and each can be given as a
variable of the environment instead: BELLWIRE_SERVER_LISTEN=0.0.0.0:4000 is `listen` of [server].

Try it:  bellwire dev";

#[derive(Subcommand)]
enum Command {
    /// Start on this machine with nothing set up: keys are made and shown, and a page is there to try it.
    Dev(Development),
    /// Start for real.
    Serve(Place),
    /// Read the configuration, the workflows and their templates, and say everything that is wrong.
    Check(Place),
    /// Compare workflows with those that are published, publish them, switch them off and on.
    #[command(subcommand)]
    Workflows(workflows::Command),
    /// Run a workflow on a clock that is turned by hand, and tell what it does step by step.
    Simulate(simulate::Asked),
    /// Look at runs.
    #[command(subcommand)]
    Runs(runs::Command),
    /// Print the JSON Schema of a file, so that editors complete and check it.
    #[command(subcommand)]
    Schema(schema::Command),
    /// Make, list and revoke API keys and signing keys; the server may be running.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Sign user tokens, as your own server does in production.
    #[command(subcommand)]
    Token(token::Command),
    /// Copy the database to a file; the server may be running.
    Backup(Backup),
    /// Bring the database's schema up to date, as every start does; any number may be at it at once.
    Migrate(Database),
    /// Move the database.
    #[command(subcommand)]
    Store(rows::Command),
    /// Ask a running server whether it is alive, or ready.
    Health(health::Asked),
}

/// Where the settings are.
#[derive(Args, Clone)]
struct Place {
    /// The configuration file [default: $BELLWIRE_CONFIG, else config/bellwire.toml if it is there, else the defaults].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of workflows, instead of `dir` of [workflows].
    #[arg(long, value_name = "DIR")]
    workflows: Option<PathBuf>,
    /// A TOML file with [[channels]], instead of those of the configuration.
    #[arg(long, value_name = "FILE")]
    channels: Option<PathBuf>,
    /// The directory of the database, instead of `path` of [store].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Args)]
struct Development {
    #[command(flatten)]
    place: Place,
    /// The port to listen on; 0 takes any that is free.
    #[arg(long)]
    port: Option<u16>,
}

/// Which database.
#[derive(Args)]
struct Database {
    /// The configuration file [default: $BELLWIRE_CONFIG, else config/bellwire.toml if it is there, else the defaults].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the database, instead of `path` of [store].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Args)]
struct Backup {
    /// The file to write; it must not be there yet.
    file: PathBuf,
    #[command(flatten)]
    database: Database,
}

/// Why a command failed, as sentences that say what to do.
#[derive(Debug)]
struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(error.to_string())
    }
}

impl Failure {
    fn problems(problems: &[Problem]) -> Self {
        Failure(problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))
    }
}

/// Does what the command line says.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Dev(asked) => serve::develop(asked, cli.log),
        Command::Serve(place) => serve::serve(&place, cli.log),
        Command::Check(place) => check::check(&place),
        Command::Workflows(command) => block_on(workflows::run(command)),
        Command::Simulate(asked) => block_on(simulate::simulate(&asked)),
        Command::Runs(command) => block_on(runs::run(command)),
        Command::Schema(command) => schema::print(&command),
        Command::Keys(command) => block_on(keys::run(command)),
        Command::Token(command) => block_on(token::run(command)),
        Command::Backup(asked) => block_on(backup(&asked)),
        Command::Migrate(database) => block_on(rows::migrate(&database)),
        Command::Store(command) => block_on(rows::run(command)),
        Command::Health(asked) => health::health(&asked),
    };
    match done {
        Ok(code) => code,
        Err(Failure(sentences)) => {
            // There is nobody left to tell that nobody can be told.
            let _ = writeln!(io::stderr(), "{sentences}");
            ExitCode::FAILURE
        }
    }
}

impl Place {
    /// The configuration with what the command line says in its place.
    fn load(&self) -> Result<Config, Vec<Problem>> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(dir) = &self.workflows {
            config.workflows.dir.clone_from(dir);
        }
        if let Some(file) = &self.channels {
            config.channels = channels::load(file, &config.environments)?;
        }
        move_store(&mut config, self.data.as_deref());
        Ok(config)
    }
}

impl Database {
    fn load(&self) -> Result<Config, Failure> {
        let mut config = Config::load(self.config.as_deref()).map_err(|problems| Failure::problems(&problems))?;
        move_store(&mut config, self.data.as_deref());
        Ok(config)
    }

    /// The database, which must be there.
    async fn open(&self) -> Result<Store, Failure> {
        connect(&self.load()?).await
    }
}

/// The configured database, which must be there.
async fn connect(config: &Config) -> Result<Store, Failure> {
    let place = config.store.place().map_err(Failure)?;
    if let store::Place::File(path) = &place
        && !path.exists()
    {
        return Err(Failure(format!(
            "There is no database {} yet: start the server once, or say where it is (`--data`, or `path` of [store]).",
            path.display()
        )));
    }
    Ok(Store::connect(&place).await?)
}

fn move_store(config: &mut Config, directory: Option<&Path>) {
    if let Some(directory) = directory {
        let name = config.store.path.file_name().unwrap_or("bellwire.db".as_ref());
        config.store.path = directory.join(name);
    }
}

/// The environment called `slug`, which must be there.
async fn environment(store: &Store, slug: &str) -> Result<EnvironmentRow, Failure> {
    let all = store.environments().await?;
    let known: Vec<String> = all.iter().map(|row| row.slug.clone()).collect();
    let found = all.into_iter().find(|row| row.slug == slug);
    found.ok_or_else(|| {
        Failure(format!("There is no environment `{slug}` in the database; there is {}.", listed(&known)))
    })
}

fn listed(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// Writes a line of the answer.
fn say(line: impl Display) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{line}") {
        // Whoever reads no further needs no more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        said => Ok(said?),
    }
}

/// Runs `task` where one thread is enough.
fn block_on<T>(task: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(task)
}

async fn backup(asked: &Backup) -> Result<ExitCode, Failure> {
    let (file, store) = (&asked.file, asked.database.open().await?);
    if file.exists() {
        return Err(Failure(format!(
            "{} is there already: name a new file, so that no backup is lost.",
            file.display()
        )));
    }
    // Under its name only when it is whole.
    let partial = PathBuf::from(format!("{}.partial", file.display()));
    let copied = store.backup(&partial).map_err(Failure::from).and_then(|()| Ok(std::fs::rename(&partial, file)?));
    if let Err(Failure(sentence)) = copied {
        // What is left of it, if anything.
        let _ = std::fs::remove_file(&partial);
        return Err(Failure(format!("The backup {} could not be written: {sentence}.", file.display())));
    }
    let bytes = std::fs::metadata(file).map(|metadata| metadata.len())?;
    say(format!("Wrote {} ({bytes} bytes).", file.display()))?;
    Ok(ExitCode::SUCCESS)
}
