//! The real server: the binary in a process of its own, with its own directory and port, and what lets one in.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::handshake;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

/// The feed channel that every server has.
pub const CHANNEL: &str = "8209f26c-62a5-461d-95e2-a5716a26e652";
/// How long a start may take; other tests share the machine.
const START: Duration = Duration::from_secs(30);
/// How long one request may take.
const ANSWER: Duration = Duration::from_secs(15);

/// A server's directory, address and keys; it runs while `child` is there.
pub struct Process {
    pub address: SocketAddr,
    pub secret: String,
    pub public: String,
    directory: PathBuf,
    /// Variables of the environment that it runs with.
    variables: Vec<(String, String)>,
    child: Option<Child>,
}

/// What a request was answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Process {
    /// Lays out a directory with workflows and keys; nothing runs yet. `more` is added to the configuration.
    pub fn laid_out(more: &str) -> Process {
        Process::laid_out_in("", more, &[])
    }

    /// A server in a town, to run with these variables of the environment.
    pub fn laid_out_in_town(more: &str, variables: &[(String, String)]) -> Process {
        Process::laid_out_in("", more, variables)
    }

    /// The same, with `server` added to the section of that name.
    pub fn laid_out_with(server: &str, more: &str) -> Process {
        Process::laid_out_in(server, more, &[])
    }

    fn laid_out_in(server: &str, more: &str, variables: &[(String, String)]) -> Process {
        let directory = std::env::temp_dir().join(format!("bellwire-process-{}", Uuid::new_v4()));
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let feed = |body: &str| {
            json!({"type": "channel", "ref": "in_app_feed_1", "channel_key": "in-app-feed",
                "channel_type": "in_app_feed", "template": {"markdown_body": body, "action_url": "/items/{{ data.name }}"}})
        };
        let second = json!({"type": "delay", "ref": "delay_1",
            "settings": {"delay_for": {"unit": "seconds", "value": 1}}});
        let mut build = feed("**{{ data.name }}**");
        build["collapse_key"] = "{{ data.build }}".into();
        for (key, steps) in [
            ("build", json!([build])),
            ("note", json!([feed("Hello **{{ data.name }}**")])),
            ("later", json!([second, feed("At last **{{ data.name }}**")])),
        ] {
            let home = directory.join("workflows").join(key);
            fs::create_dir_all(&home).unwrap();
            fs::write(home.join("workflow.json"), json!({"name": key, "steps": steps}).to_string()).unwrap();
        }
        let config = format!(
            "[server]\nlisten = \"{address}\"\n{server}\n\n[store]\npath = {:?}\n\n[workflows]\ndir = {:?}\n\n\
             [limits]\nenabled = false\n\n[environments.development]\n\n\
             [environments.production]\nenhanced_security = true\n\n\
             [[channels]]\nid = \"{CHANNEL}\"\nkey = \"in-app-feed\"\ntype = \"in_app_feed\"\n\n{more}",
            directory.join("bellwire.db"),
            directory.join("workflows"),
        );
        fs::write(directory.join("bellwire.toml"), config).unwrap();
        let mut process = Process {
            address,
            secret: String::new(),
            public: String::new(),
            directory,
            variables: variables.to_vec(),
            child: None,
        };
        process.secret = process.key("development", "secret");
        process.public = process.key("development", "public");
        process
    }

    /// Lays out a server and starts it.
    pub fn start(more: &str) -> Process {
        let mut process = Process::laid_out(more);
        process.run();
        process
    }

    /// Starts the server, and waits until it accepts connections.
    pub fn run(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(Process::binary());
        command.args(self.arguments()).current_dir(&self.directory).stdin(Stdio::null());
        command.envs(self.variables.iter().cloned());
        let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let began = Instant::now();
        while std::net::TcpStream::connect(self.address).is_err() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended at its start, {status}:\n{}", self.tail());
            }
            assert!(began.elapsed() < START, "the server does not start:\n{}", self.tail());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child = Some(child);
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits until it has ended by itself; its exit code.
    pub async fn ended(&mut self, within: Duration) -> Option<i32> {
        let began = Instant::now();
        loop {
            let child = self.child.as_mut().expect("the server runs");
            if let Some(status) = child.try_wait().unwrap() {
                self.child = None;
                return status.code();
            }
            assert!(began.elapsed() < within, "it still runs after {within:?}:\n{}", self.tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for a line of its log that `is_it`.
    pub async fn said(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let text = fs::read_to_string(self.log()).unwrap_or_default();
            if let Some(line) = text.lines().find(|line| is_it(line)) {
                return line.to_owned();
            }
            assert!(began.elapsed() < ANSWER, "it does not say {what}:\n{}", self.tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The database as another process sees it.
    pub fn database(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.directory.join("bellwire.db")).unwrap();
        connection.busy_timeout(ANSWER).unwrap();
        connection
    }

    /// Kills the server as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks the server to stop, and waits until it has.
    pub fn stop(&mut self) {
        self.signal("TERM");
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    /// The command line under which it runs.
    pub fn arguments(&self) -> Vec<String> {
        vec!["serve".to_owned(), "--config".to_owned(), self.directory.join("bellwire.toml").display().to_string()]
    }

    pub fn binary() -> &'static str {
        env!("CARGO_BIN_EXE_bellwire")
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Makes an API key.
    pub fn key(&self, environment: &str, kind: &str) -> String {
        self.create_key(environment, &["--kind", kind])["key"].as_str().expect("a key is printed").to_owned()
    }

    /// Has the server's own command make a key, and answers what it prints.
    pub fn create_key(&self, environment: &str, more: &[&str]) -> Value {
        let output = self.keys(&[&["create", "--json", "--env", environment], more].concat());
        serde_json::from_slice(&output).expect("`keys create --json` prints JSON")
    }

    /// Has the server's own command revoke a key.
    pub fn revoke_key(&self, key: &str) {
        self.keys(&["revoke", key]);
    }

    fn keys(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new(Process::binary());
        command.arg("keys").args(arguments).arg("--config").arg(self.directory.join("bellwire.toml"));
        command.envs(self.variables.iter().cloned());
        let output = command.current_dir(&self.directory).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`keys {arguments:?}` failed: {said}");
        output.stdout
    }

    /// Sends one request with the secret key, on a connection of its own.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> Result<Reply, String> {
        call(self.address, &self.secret, method, path, None, body).await
    }

    /// The private memory of the server's process, in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("a line for RssAnon");
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("kilobytes") * 1024
    }

    fn log(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    /// Everything that the server said.
    pub fn whole_log(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The end of what the server said.
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The harness shows it beside the failed expectation.
            #[allow(clippy::disallowed_macros, reason = "a failed test says what its server said")]
            {
                println!("the server's log ends:\n{}", self.tail());
            }
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Sends one request on a connection of its own; an error says at which point there was no answer.
pub async fn call(
    address: SocketAddr,
    key: &str,
    method: Method,
    path: &str,
    idempotency_key: Option<&str>,
    body: Value,
) -> Result<Reply, String> {
    let exchange = async {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("connecting: {error}"))?;
        let (mut sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| format!("opening: {error}"))?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, address.to_string())
            .header(AUTHORIZATION, format!("Bearer {key}"))
            .header(CONTENT_TYPE, "application/json");
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = request.body(Full::new(Bytes::from(text))).expect("a sound request");
        let response = sender.send_request(request).await.map_err(|error| format!("asking: {error}"))?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(|error| format!("reading: {error}"))?.to_bytes();
        driver.abort();
        Ok(Reply { status, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    };
    tokio::time::timeout(ANSWER, exchange).await.unwrap_or_else(|_| Err("waiting: no answer".to_owned()))
}

/// Asks for `path` with these headers, on a connection of its own: the answer's head and its body.
pub async fn get(address: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        loop {
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return (head.to_owned(), body.to_owned());
                }
            }
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await.unwrap();
            assert_ne!(count, 0, "{path}: the server hung up after {text:?}");
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    };
    tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| panic!("{path}: no answer"))
}

/// A port that nothing listens on, from below those that the kernel gives to outgoing connections: a server that is
/// started again finds it still free.
pub fn free_port() -> u16 {
    loop {
        let port = 10_000 + u16::from_le_bytes([Uuid::new_v4().as_bytes()[0], Uuid::new_v4().as_bytes()[1]]) % 20_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
