//! A real PostgreSQL: a server of the tests' own, on a port and in a directory of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bellwire::store::Place;
use bellwire::store::postgres::Settings;

/// A running server. It is stopped when it is dropped, and when the process of the tests ends in any other way.
pub struct Server {
    pub port: u16,
    directory: PathBuf,
    programs: PathBuf,
    watchdog: Option<(Child, ChildStdin)>,
    databases: AtomicU32,
}

/// What PostgreSQL's programs are run with: it refuses to be root.
fn command(program: &Path) -> Command {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

#[allow(clippy::disallowed_methods, reason = "programs are looked for where the shell looks")]
/// Where `initdb` and `pg_ctl` are: what the distribution installs is not on everybody's path.
fn programs() -> PathBuf {
    let on_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let of_debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut of_debian: Vec<PathBuf> = of_debian.map(|entry| entry.path().join("bin")).collect();
    of_debian.sort();
    let found = on_path.into_iter().chain(of_debian.into_iter().rev()).find(|at| at.join("initdb").exists());
    found.expect("PostgreSQL is not installed: `tests/run` does that (apt-get install postgresql)")
}

impl Server {
    /// Starts a server that keeps its promises to nobody: a test's database need not survive the machine.
    pub fn start() -> Server {
        Server::with(&["fsync=off", "full_page_writes=off", "synchronous_commit=on"])
    }

    /// Starts a server with these settings.
    pub fn with(settings: &[&str]) -> Server {
        let programs = programs();
        let directory = std::env::temp_dir().join(format!("bellwire-postgres-{}", uuid::Uuid::new_v4()));
        let mut init = command(&programs.join("initdb"));
        init.args(["-A", "trust", "-U", "bellwire", "-E", "UTF8", "--locale=C", "-D"]).arg(&directory);
        let made = init.current_dir("/").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Server { port, directory, programs, watchdog: None, databases: AtomicU32::new(0) };
        let settings: Vec<String> = settings.iter().map(|setting| format!("-c {setting}")).collect();
        std::fs::write(server.options(), settings.join(" ")).unwrap();
        server.up();
        let stop = format!(
            "cat > /dev/null; {:?} -D {:?} -m immediate stop; rm -rf {:?}",
            server.programs.join("pg_ctl"),
            server.directory,
            server.directory
        );
        let mut shell = command(Path::new("sh"));
        let mut watchdog = shell
            .args(["-c", &stop])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()
            .unwrap();
        let stdin = watchdog.stdin.take().unwrap();
        server.watchdog = Some((watchdog, stdin));
        server
    }

    /// Starts a server that speaks encrypted; whoever is to trust it trusts the file that is given, too.
    pub fn start_with_tls() -> (Server, PathBuf) {
        let server = Server::start();
        let make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
                    -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout server.key -out server.crt && chmod 600 server.key";
        let made = command(Path::new("sh")).args(["-c", make]).current_dir(&server.directory).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let settings = std::fs::read_to_string(server.options()).unwrap();
        std::fs::write(server.options(), format!("{settings} -c ssl=on")).unwrap();
        server.down();
        server.up();
        // The directory is the server's alone.
        let certificate = server.directory.with_extension("crt");
        std::fs::copy(server.directory.join("server.crt"), &certificate).unwrap();
        (server, certificate)
    }

    fn options(&self) -> PathBuf {
        self.directory.with_extension("options")
    }

    fn control(&self, arguments: &[&str]) {
        let mut control = command(&self.programs.join("pg_ctl"));
        control.arg("-D").arg(&self.directory).args(arguments).current_dir("/");
        let done = control.stdout(Stdio::null()).status().unwrap();
        assert!(done.success(), "pg_ctl {arguments:?}");
    }

    /// Starts it, or starts it again.
    pub fn up(&self) {
        let settings = std::fs::read_to_string(self.options()).unwrap();
        let (port, log) = (self.port, self.directory.join("log"));
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=400 {settings}"
        );
        self.control(&["-w", "-t", "60", "-l", &log.display().to_string(), "-o", &options, "start"]);
    }

    /// Stops it as if its machine had died.
    pub fn down(&self) {
        self.control(&["-w", "-m", "immediate", "stop"]);
    }

    /// Stops it as its operator does, who waits for nobody's connection, and starts it again.
    pub fn restart(&self) {
        let log = self.directory.join("log").display().to_string();
        self.control(&["-w", "-t", "60", "-m", "fast", "-l", &log, "restart"]);
    }

    /// The process that all others of the server come from.
    pub fn process(&self) -> u32 {
        let text = std::fs::read_to_string(self.directory.join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The address of a database, to be connected to by the user who may do everything.
    pub fn url(&self, database: &str) -> String {
        url(self.address(), database)
    }

    /// A new, empty database.
    pub async fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        name
    }

    /// Executes commands in a database.
    pub async fn execute(&self, database: &str, sql: &str) {
        let config: tokio_postgres::Config = self.url(database).parse().unwrap();
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
    }

    /// What a database answers to a question.
    pub async fn ask(&self, database: &str, sql: &str) -> Vec<tokio_postgres::Row> {
        let config: tokio_postgres::Config = self.url(database).parse().unwrap();
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.query(sql, &[]).await.unwrap()
    }

    /// How a node reaches a database.
    pub fn place(&self, database: &str, connections: usize) -> Place {
        place(&self.url(database), connections, Duration::from_secs(60))
    }
}

/// A transaction that is open until it is dropped.
pub struct Transaction {
    client: tokio_postgres::Client,
}

impl Transaction {
    /// Makes it last.
    pub async fn commit(self) {
        self.client.batch_execute("COMMIT").await.unwrap();
    }

    /// Begins one with these commands.
    pub async fn begin(url: &str, sql: &str) -> Transaction {
        let config: tokio_postgres::Config = url.parse().unwrap();
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
        Transaction { client }
    }
}

impl Transaction {
    /// The server's processes that wait for what it holds.
    pub async fn waiting(&self) -> Vec<i32> {
        let ask =
            "SELECT DISTINCT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))";
        self.client.query(ask, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

/// Processes of a server that do nothing until this is dropped.
pub struct Frozen(Vec<i32>);

impl Frozen {
    pub fn new(processes: Vec<i32>) -> Frozen {
        let frozen = Frozen(processes);
        frozen.signal("-STOP");
        frozen
    }

    fn signal(&self, signal: &str) {
        for process in &self.0 {
            assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}

/// The address of a database of a server that is reached at `address`.
pub fn url(address: SocketAddr, database: &str) -> String {
    format!("postgres://bellwire@{address}/{database}")
}

/// How a node reaches a database at `url`.
pub fn place(url: &str, connections: usize, patience: Duration) -> Place {
    let tls = rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty());
    let tls = Arc::new(tls.with_no_client_auth());
    Place::Postgres(Box::new(Settings { config: url.parse().unwrap(), tls, connections, patience }))
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((mut watchdog, stdin)) = self.watchdog.take() {
            drop(stdin);
            let _ = watchdog.wait();
        }
        let _ = std::fs::remove_file(self.options());
        let _ = std::fs::remove_file(self.directory.with_extension("crt"));
    }
}

/// The server that tests share which need just a store.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}
