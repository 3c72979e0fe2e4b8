//! The command line, run as an operator runs it.

mod check;
mod dev;
mod health;
mod keys;
mod publishing;
mod runs;
mod schema;
mod serve;
mod simulate;
mod workflows;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/workflows");

/// A directory of one test, in which its commands run; gone when the test is.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("bellwire-cli-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).expect("a directory");
        Dir(root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs::write(file, content).expect("a file");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwire"));
        // Nothing of this machine's own settings.
        command.args(args).current_dir(&self.0).env_clear();
        command
    }

    /// Runs a command to its end.
    fn run(&self, args: &[&str]) -> Done {
        self.run_with(args, &[])
    }

    fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Done {
        let output = self.command(args).envs(variables.iter().copied()).output().expect("the command runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs a command that must succeed, and gives its output.
    #[track_caller]
    fn ask(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{args:?}: {}{}", done.out, done.err);
        done.out
    }

    #[track_caller]
    fn ask_json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ask(args)).expect("JSON")
    }

    /// Starts a server on a free port, and waits until it is ready.
    fn start(&self, args: &[&str]) -> Server {
        Server::started(self.command(args))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A command that has ended.
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A server that is running.
struct Server {
    child: Child,
    address: String,
    log: BufReader<std::process::ChildStderr>,
    /// What it said until it was ready.
    greeting: String,
}

impl Server {
    /// Runs `command`, which starts a server, and waits until that is ready.
    fn started(mut command: Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the server starts");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut told = String::new();
        let address = loop {
            let from = told.len();
            assert_ne!(log.read_line(&mut told).expect("UTF-8"), 0, "the server ended: {told}");
            if let Some((_, address)) = told[from..].split_once("listening on ") {
                let is_address = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
                break address.chars().take_while(|c| is_address(*c)).collect();
            }
        };
        Server { child, address, log, greeting: told }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Stops it as Ctrl-C does. Gives what it said on standard output.
    fn stop(&mut self) -> (ExitStatus, String) {
        self.signal("INT");
        let mut out = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("UTF-8");
        (self.child.wait().expect("it ends"), out)
    }

    /// The rest of its log up to a line with `word`.
    fn log_until(&mut self, word: &str) -> String {
        let mut told = String::new();
        while !told.contains(word) {
            assert_ne!(self.log.read_line(&mut told).expect("UTF-8"), 0, "`{word}` was not said: {told}");
        }
        told
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.request("GET", path, &[], "")
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let answer = self.exchange(method, path, headers, body);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status, body.unwrap_or_default())
    }

    /// What is answered, head and all.
    fn exchange(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let host = &self.address;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
