//! The bare programs: the least that does the same work, measured beside the server.
//!
//! Each runs as a child process of its own, this same binary under a hidden command, so that the kernel counts its CPU
//! and memory exactly as the server's. It ends when its standard input does: no way out of the parent leaves one behind.

pub(crate) mod lists;
pub(crate) mod pages;
pub(crate) mod push;
pub(crate) mod record;
pub(crate) mod redis;
pub(crate) mod rows;

use std::io::Read as _;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::options::Common;
use crate::process::Process;

/// Starts this binary's hidden command `name` and waits for its first line.
pub(crate) async fn start<T: DeserializeOwned>(
    common: &Common,
    name: &str,
    arguments: &[String],
    room: &Path,
) -> Result<(Process, T)> {
    let program = std::env::current_exe()?;
    let arguments: Vec<String> = [name.to_owned()].into_iter().chain(arguments.iter().cloned()).collect();
    let mut process = Process::start(common, &program, &arguments, &room.join(format!("{name}.log")))?;
    let ready = process.line().await?;
    Ok((process, ready))
}

/// Says one line to the parent.
fn tell<T: Serialize>(value: &T) -> Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Ends this process when the parent has gone, or wants it gone.
fn end_with_parent() {
    std::thread::spawn(|| {
        let mut nothing = [0; 64];
        while std::io::stdin().read(&mut nothing).is_ok_and(|read| read > 0) {}
        std::process::exit(0);
    });
}
