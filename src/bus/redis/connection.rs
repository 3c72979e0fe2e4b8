//! One connection to a server: how it is made, asked, and what its errors mean.

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, PushInfo, RedisError, TlsCertificates, Value};

use crate::bus::{Place, Settings};

/// Hears what the server says unasked. It is called where the connection is read: it must not wait.
pub(super) type Ear = Box<dyn Fn(PushInfo) + Send + Sync>;

/// Why a server does not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It does not let us: a sentence for whoever configures it.
    Refused(String),
    /// It is not there, or fails.
    Gone(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Trouble::Refused(why) | Trouble::Gone(why)) = self;
        f.write_str(why)
    }
}

/// Connects, logs in, and agrees on the protocol in which the server may speak unasked.
pub(super) async fn connect(
    place: &Place,
    settings: &Settings,
    ear: Option<Ear>,
) -> Result<MultiplexedConnection, Trouble> {
    let mut config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connect_within))
        .set_response_timeout(Some(settings.answer_within));
    if let Some(ear) = ear {
        config = config.set_push_sender(move |push| {
            ear(push);
            Ok::<(), ()>(())
        });
    }
    let client = match &settings.authorities {
        Some(authorities) if place.is_secure() => {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(authorities.clone()) };
            let built = Client::build_with_tls(place.connection(), certificates);
            built.map_err(|error| {
                Trouble::Refused(format!("`ca_file` of [bus]: holds no certificates in PEM ({error})"))
            })?
        }
        _ => Client::open(place.connection()).map_err(|error| trouble(place, &error))?,
    };
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    connected.map_err(|error| trouble(place, &error))
}

/// A command of words.
pub(super) fn command(name: &str, arguments: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(name);
    arguments.iter().for_each(|argument| _ = command.arg(argument));
    command
}

/// Asks one thing.
pub(super) async fn ask(
    connection: &mut MultiplexedConnection,
    place: &Place,
    command: &Cmd,
) -> Result<Value, Trouble> {
    let answer = connection.req_packed_command(command).await.and_then(Value::extract_error);
    answer.map_err(|error| trouble(place, &error))
}

/// Asks a node of a Cluster one thing, of which it may say that another has to be asked.
pub(super) async fn ask_anywhere(
    connection: &mut MultiplexedConnection,
    place: &Place,
    command: &Cmd,
) -> Result<(), Trouble> {
    match connection.req_packed_command(command).await.and_then(Value::extract_error) {
        Err(error) if error.is_cluster_error() => Ok(()),
        answer => answer.map(drop).map_err(|error| trouble(place, &error)),
    }
}

/// Asks many things at once, each answered by one value; an error of one is its value.
pub(super) async fn ask_all(
    connection: &mut MultiplexedConnection,
    place: &Place,
    commands: &Pipeline,
) -> Result<Vec<Value>, Trouble> {
    let answers = connection.req_packed_commands(commands, 0, commands.len()).await;
    answers.map_err(|error| trouble(place, &error))
}

/// What an error means. None of the driver's errors quotes a password.
pub(super) fn trouble(place: &Place, error: &RedisError) -> Trouble {
    let refused = |what: &str| Trouble::Refused(format!("`urls` of [bus]: {place} {what}"));
    match (error.code(), error.kind()) {
        (Some("WRONGPASS"), _) | (_, ErrorKind::AuthenticationFailed) => {
            refused("refuses the user or the password of its address")
        }
        (Some("NOAUTH"), _) => refused("wants a password: write its address as redis://user:password@host:port"),
        (Some("NOPERM"), _) => {
            let why = error.detail().unwrap_or_default();
            refused(&format!(
                "does not allow its user what the bus needs, which is to publish and subscribe to every channel under \
                 `prefix`, and PUBSUB ({why})"
            ))
        }
        (_, ErrorKind::RESP3NotSupported) => refused("is too old: Redis 6 or newer is needed, for a Cluster Redis 7"),
        (Some("ERR"), _) if error.detail().is_some_and(|why| why.contains("cluster support disabled")) => {
            refused("is no node of a Cluster: write its address as redis://")
        }
        (Some("ERR"), _) if error.detail().is_some_and(|why| why.starts_with("unknown command")) => {
            refused("does not know a command that the bus needs: Redis 6 or newer, for a Cluster Redis 7")
        }
        _ => {
            let why = error.to_string();
            // What the driver says of TLS, it says in words only.
            if why.contains("invalid peer certificate") {
                let what = "shows a certificate that is not vouched for by those whom this node trusts";
                return Trouble::Refused(format!("`ca_file` of [bus]: {place} {what} ({why})"));
            }
            Trouble::Gone(why)
        }
    }
}
