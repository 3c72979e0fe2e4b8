//! Child processes: pinned to a core, killed when dropped.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

use crate::options::Common;

/// A running child. Dropping it kills it by its id, then waits for it, so none outlives this program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts `program`, pinned to the measured program's core unless told otherwise. Its log goes to `log`.
    pub(crate) fn start<S: AsRef<OsStr>>(
        common: &Common,
        program: &Path,
        arguments: &[S],
        log: &Path,
    ) -> Result<Process> {
        let mut command = pinned(common, program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Ok(Process { child, input, output })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when the child has ended by itself.
    pub(crate) fn require_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended by itself: {status}"),
        }
    }

    /// Kills the child without waiting for its end, which may take long where it holds much.
    pub(crate) fn kill(&mut self) {
        // Fails only for a child that is gone already.
        let _ = self.child.kill();
    }

    /// Sends one line to the child.
    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("the child's input is closed")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    /// Waits for the child's next line, which is JSON, without holding up the runtime.
    pub(crate) async fn line<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut output = self.output.take().context("the child's output is being read")?;
        let (output, line) = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let read = output.read_line(&mut line);
            (output, read.map(|_| line))
        })
        .await?;
        self.output = Some(output);
        let line = line?;
        serde_json::from_str(&line).with_context(|| format!("a child said {line:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of our own for this run, removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn create(parent: Option<&Path>) -> Result<Scratch> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = parent.join(format!("bellwire-loadtest-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Scratch { path: path.canonicalize()? })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A fresh, empty directory in it.
    pub(crate) fn room(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Moves this client to its own core. Called before any thread is started, which then inherit it.
pub(crate) fn pin_client(common: &Common) -> Result<()> {
    if common.no_pin {
        return Ok(());
    }
    let pid = std::process::id().to_string();
    let status = Command::new("taskset")
        .args(["-a", "-p", "-c", &common.client_cpu.to_string(), &pid])
        .stdout(Stdio::null())
        .status()
        .context("cannot run taskset: install util-linux or pass --no-pin")?;
    if !status.success() {
        bail!("taskset cannot move this process to core {}: pass --no-pin", common.client_cpu);
    }
    Ok(())
}

/// `program` as a command that starts on its core, and that the kernel ends should this process be killed outright.
fn pinned(common: &Common, program: &Path) -> Command {
    let mut words: Vec<&OsStr> = Vec::new();
    let cpu = common.server_cpu.to_string();
    if Path::new("/usr/bin/setpriv").exists() {
        words.extend(["/usr/bin/setpriv", "--pdeathsig", "KILL", "--"].map(OsStr::new));
    }
    if !common.no_pin {
        words.extend(["taskset", "-c", &cpu].map(OsStr::new));
    }
    words.push(program.as_os_str());
    let mut command = Command::new(words[0]);
    // Settings of the caller's environment would win over the configuration laid out for the run.
    command.args(&words[1..]).env_clear().env("PATH", "/usr/bin:/bin");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_scratch_directory_is_gone() {
        let scratch = Scratch::create(None).expect("scratch");
        let path = scratch.room("room").expect("room");
        assert!(path.exists());
        drop(scratch);
        assert!(!path.exists());
    }
}
