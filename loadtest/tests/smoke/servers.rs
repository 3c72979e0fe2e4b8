//! The PostgreSQL and the Redis that several nodes share, on ports of their own, for one test.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take to start; other tests share the machine.
const START: Duration = Duration::from_secs(60);

/// Both servers. They are ended when this is dropped, and by the kernel when the process of the test ends before.
pub(crate) struct Servers {
    postgres: Child,
    redis: Child,
    /// PostgreSQL's address, and Redis's.
    pub(crate) store: String,
    pub(crate) bus: String,
    directory: PathBuf,
}

impl Servers {
    /// Starts them, with what they keep in a directory of this name. Nothing survives the machine.
    pub(crate) fn start(name: &str) -> Servers {
        let directory = std::env::temp_dir().join(format!("bellwire-{name}-{}", std::process::id()));
        let rows = directory.join("rows");
        std::fs::create_dir_all(&directory).expect("a directory");
        let mut init = postgres(&programs().join("initdb"));
        init.args(["-A", "trust", "-U", "load", "-E", "UTF8", "--locale=C", "-D"]).arg(&rows).current_dir("/");
        // PostgreSQL refuses to be root, and whoever it runs as must have the directory.
        assert!(postgres_owns(&directory), "{} cannot be given to PostgreSQL", directory.display());
        let made = init.output().expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let (store, bus) = (free_port(), free_port());
        let mut server = postgres(&programs().join("postgres"));
        server.arg("-D").arg(&rows).args(["-p", &store.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]).current_dir("/");
        let mut redis = mortal("redis-server");
        redis.args(["--port", &bus.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let servers = Servers {
            postgres: spawn(&mut server),
            redis: spawn(&mut redis),
            store: format!("postgres://load@127.0.0.1:{store}/postgres"),
            bus: format!("127.0.0.1:{bus}"),
            directory,
        };
        for port in [store, bus] {
            let began = Instant::now();
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(began.elapsed() < START, "nothing listens on port {port}");
                sleep(Duration::from_millis(10));
            }
        }
        servers
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // At once, but not outright: what it shares with its own processes has to go with it.
        let _ = Command::new("kill").args(["-QUIT", &self.postgres.id().to_string()]).status();
        let _ = self.redis.kill();
        for child in [&mut self.postgres, &mut self.redis] {
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn spawn(command: &mut Command) -> Child {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().unwrap_or_else(|error| panic!("{:?} can't be started ({error}): see tests/run", quiet.get_program()))
}

/// A program that the kernel kills with this process.
fn mortal(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0")
}

fn postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn postgres_owns(directory: &Path) -> bool {
    !is_root() || Command::new("chown").arg("postgres").arg(directory).status().is_ok_and(|status| status.success())
}

#[allow(clippy::disallowed_methods, reason = "programs are looked for where the shell looks")]
/// Where PostgreSQL's programs are: what the distribution installs is not on everybody's path.
fn programs() -> PathBuf {
    let on_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let of_debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut of_debian: Vec<PathBuf> = of_debian.map(|entry| entry.path().join("bin")).collect();
    of_debian.sort();
    let found = on_path.into_iter().chain(of_debian.into_iter().rev()).find(|at| at.join("initdb").exists());
    found.expect("PostgreSQL is not installed: `tests/run` does that (apt-get install postgresql)")
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}
