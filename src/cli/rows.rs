//! `bellwire migrate` and `bellwire store`: the database itself.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use bellwire::app::prepare;
use bellwire::store::copy::{Copied, copy};
use bellwire::store::{Place, Store};
use clap::{Args, Subcommand};

use super::{Database, Failure, say};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Copy the database of a single node into an empty PostgreSQL database. The server must not run. A copy that was
    /// broken off goes on where it stood.
    Copy(CopyArgs),
}

#[derive(Args)]
pub(super) struct CopyArgs {
    /// The database file [default: `path` of [store]].
    from: Option<PathBuf>,
    /// The address of the PostgreSQL database [default: `url` of [store], or BELLWIRE_STORE_URL, which keep its password out
    /// of the list of processes].
    to: Option<String>,
    #[command(flatten)]
    database: Database,
}

/// Brings the schema up to date.
pub(super) async fn migrate(database: &Database) -> Result<ExitCode, Failure> {
    let place = database.load()?.store.place().map_err(Failure)?;
    // A running server knows its own schema only.
    let lock = match &place {
        Place::File(path) => Some(prepare(path)?),
        Place::Postgres(_) => None,
    };
    drop(Store::connect(&place).await?);
    drop(lock);
    say("The schema is up to date.")?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    let Command::Copy(asked) = command;
    let store = asked.database.load()?.store;
    let from = asked.from.unwrap_or_else(|| store.path.clone());
    if !from.is_file() {
        return Err(Failure(format!("There is no database {}: name the file to copy.", from.display())));
    }
    let to = match &asked.to {
        Some(url) => store.at(url),
        None => store.place(),
    };
    let to = to.map_err(Failure)?;
    if matches!(to, Place::File(_)) {
        return Err(Failure(
            "Say where to copy to: `url` of [store], BELLWIRE_STORE_URL, or a second argument.".to_owned(),
        ));
    }
    let lock = prepare(&from)?;
    let is_terminal = io::stderr().is_terminal();
    let tables = copy(&from, &to, |copied| show(copied, is_terminal)).await?;
    drop(lock);
    say("Copied, and counted on both sides:")?;
    for Copied { table, total, .. } in &tables {
        say(format!("  {table:<20} {total:>12}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One line that is written over as the table grows; where nobody looks, one line per table that is whole.
fn show(copied: &Copied, is_terminal: bool) {
    let Copied { table, done, total } = copied;
    let is_whole = done >= total;
    if !is_terminal && !is_whole {
        return;
    }
    const WIDTH: i64 = 30;
    let filled = if *total == 0 { WIDTH } else { done * WIDTH / total };
    let bar: String = (0..WIDTH).map(|at| if at < filled { '#' } else { '.' }).collect();
    let (before, after) = if is_terminal { ("\r", if is_whole { "\n" } else { "" }) } else { ("", "\n") };
    // What cannot be shown is not worth stopping for.
    let _ = write!(io::stderr(), "{before}{table:<20} [{bar}] {done}/{total}{after}");
    let _ = io::stderr().flush();
}
