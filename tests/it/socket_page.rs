//! The page of the protocol, `docs/socket.md`: everything that it shows is played against a server, in the page's order.
//!
//! What is sent is sent as it stands; what comes must be what stands there next, and nothing else. So nobody can change the
//! protocol and leave the page behind, and nothing can stand on the page that was never tried. A word in braces, such as
//! `{item}`, stands for what it was when it came first. A member `"…"` stands for others that are not shown.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwire::clock::Clock;
use bellwire::sign::issue::sign_hs256;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::process::{CHANNEL, Process};

const PATIENCE: Duration = Duration::from_secs(20);
const GUIDES: &str = "8209f26c-62a5-461d-95e2-a5716a26e653";
const REST: &str = "…";

/// What stands between two fences of the page.
struct Block<'a> {
    line: usize,
    /// What the fence says: what the block is.
    kind: &'a str,
    text: String,
}

/// The blocks of the page, in its order.
fn blocks(page: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut open): (Vec<Block<'_>>, Option<Block<'_>>) = (Vec::new(), None);
    for (at, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(kind), None) => open = Some(Block { line: at + 1, kind, text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {
                let looks_sent = ["[null,", "[\"", "{\"topic\""].iter().any(|begin| line.contains(begin));
                assert!(!looks_sent, "line {}: a frame that nothing plays: {line}", at + 1);
            }
        }
    }
    assert!(open.is_none(), "the last fence is not closed");
    blocks
}

/// Plays the page.
struct Player {
    server: Process,
    /// What the words in braces stand for.
    known: BTreeMap<String, String>,
    socket: Option<WebSocketStream<TcpStream>>,
    /// The key that signs user tokens, and its number.
    signing: (Vec<u8>, String),
    /// What came last: clients are prompted to look once more if they may not have heard it.
    last: Value,
}

impl Player {
    fn start() -> Player {
        let channel = format!("[[channels]]\nid = \"{GUIDES}\"\nkey = \"in-app-guide\"\ntype = \"in_app_guide\"\n");
        let mut server = Process::laid_out(&channel);
        let signing = server.create_key("development", &["--kind", "signing"]);
        let text = |name: &str| signing[name].as_str().expect("a signing key");
        let signing = (URL_SAFE_NO_PAD.decode(text("secret")).unwrap(), text("kid").to_owned());
        server.run();
        let known = [
            ("public_key", server.public.clone()),
            ("second_key", server.key("development", "public")),
            ("channel", CHANNEL.to_owned()),
            ("guides", GUIDES.to_owned()),
        ];
        let known = known.map(|(name, value)| (name.to_owned(), value)).into();
        Player { server, known, socket: None, signing, last: Value::Null }
    }

    /// A token of ann's that has run out so many seconds ago.
    fn token(&self, seconds: i64) -> String {
        let ends_at = Clock::system().now().seconds() - seconds;
        sign_hs256(&json!({"sub": "ann", "exp": ends_at}), &self.signing.0, Some(&self.signing.1))
    }

    /// The text with what is known in place of the words in braces.
    fn filled(&self, text: &str) -> String {
        let fill = |text: String, (name, value): (&String, &String)| text.replace(&format!("{{{name}}}"), value);
        self.known.iter().fold(text.to_owned(), fill)
    }

    async fn play(&mut self, Block { kind, text, .. }: &Block<'_>) -> Result<(), String> {
        let text = text.trim();
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        match *kind {
            "connect" => self.connect(first, rest.trim()).await,
            "frame →" => {
                let text = self.filled(text);
                // One line, as it goes out; what is no JSON goes out as it is.
                let sent = serde_json::from_str::<Value>(&text).map_or(text, |frame| frame.to_string());
                let sent = self.socket()?.send(Message::text(sent)).await;
                sent.map_err(|error| error.to_string())
            }
            "frame ←" => {
                let expected = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
                self.expect(&expected).await
            }
            "close ←" => match self.next().await? {
                Message::Close(Some(frame)) if u16::from(frame.code).to_string() == first => {
                    self.socket = None;
                    Ok(())
                }
                other => Err(format!("{other:?} came")),
            },
            "request" => self.request(&self.filled(first), rest).await,
            "file" => {
                let path = self.server.directory().join(first);
                let home = path.parent().ok_or("a file in a directory")?;
                if rest.is_empty() {
                    std::fs::remove_dir_all(home).unwrap();
                } else {
                    std::fs::create_dir_all(home).unwrap();
                    std::fs::write(path, rest).unwrap();
                }
                self.server.signal("HUP");
                Ok(())
            }
            "command" => {
                let key = text.strip_prefix("bellwire keys revoke ").ok_or("nobody knows how to run this")?;
                self.server.revoke_key(&self.filled(key));
                Ok(())
            }
            "signal" => {
                self.server.signal(first);
                Ok(())
            }
            _ => Err("nobody knows how to play this: see tests/it/socket_page.rs".to_owned()),
        }
    }

    fn socket(&mut self) -> Result<&mut WebSocketStream<TcpStream>, String> {
        self.socket.as_mut().ok_or_else(|| "nothing is connected".to_owned())
    }

    /// Opens a socket in place of the one before; `outcome` is the status that is answered.
    async fn connect(&mut self, path: &str, outcome: &str) -> Result<(), String> {
        self.hang_up().await?;
        let stream = TcpStream::connect(self.server.address).await.map_err(|error| error.to_string())?;
        // A token is good for a minute more.
        let path = path.replace("{token}", &self.token(-3_600)).replace("{old_token}", &self.token(57));
        let url = format!("ws://{}{}", self.server.address, self.filled(&path));
        let status = match tokio_tungstenite::client_async(url, stream).await {
            Ok((socket, _)) => {
                self.socket = Some(socket);
                101
            }
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(error) => return Err(error.to_string()),
        };
        (outcome == format!("→ {status}")).then_some(()).ok_or(format!("it is answered {status}"))
    }

    /// Nothing may have been said that the page does not show.
    async fn hang_up(&mut self) -> Result<(), String> {
        if self.socket.is_none() {
            return Ok(());
        }
        let sent = self.socket()?.send(Message::Ping(b"quiet"[..].into())).await;
        sent.map_err(|error| error.to_string())?;
        let next = self.next().await?;
        self.socket = None;
        matches!(next, Message::Pong(_)).then_some(()).ok_or(format!("the page does not show {next:?}"))
    }

    /// What comes next.
    async fn next(&mut self) -> Result<Message, String> {
        loop {
            let next = timeout(PATIENCE, self.socket()?.next()).await.map_err(|_| "nothing comes")?;
            let next = next.ok_or("the connection has ended")?.map_err(|error| error.to_string())?;
            let is_again = matches!(&next, Message::Text(text) if text.contains("\"new-message\"")
                && serde_json::from_str::<Value>(text).is_ok_and(|frame| frame == self.last));
            if !is_again && !matches!(next, Message::Ping(_)) {
                return Ok(next);
            }
        }
    }

    async fn expect(&mut self, expected: &Value) -> Result<(), String> {
        let next = self.next().await?;
        let Message::Text(text) = &next else { return Err(format!("{next:?} came")) };
        let came: Value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
        self.compare(expected, &came).map_err(|fault| format!("{fault}\nthere came {came:#}"))?;
        self.last = came;
        Ok(())
    }

    /// Whether this is what was expected; what it says first of a word in braces is kept.
    fn compare(&mut self, expected: &Value, came: &Value) -> Result<(), String> {
        match (expected, came) {
            (Value::Object(expected), Value::Object(came)) => {
                if let Some(more) = came.keys().find(|key| !expected.contains_key(*key) && !expected.contains_key(REST))
                {
                    return Err(format!("`{more}` is not on the page"));
                }
                for (key, value) in expected.iter().filter(|(key, _)| *key != REST) {
                    let came = came.get(key).ok_or(format!("`{key}` did not come"))?;
                    self.compare(value, came).map_err(|fault| format!("{key}: {fault}"))?;
                }
                Ok(())
            }
            (Value::Array(expected), Value::Array(came)) => {
                if expected.len() != came.len() {
                    return Err(format!("{} came instead of {}", came.len(), expected.len()));
                }
                expected.iter().zip(came).try_for_each(|(expected, came)| self.compare(expected, came))
            }
            (Value::String(expected), Value::String(came)) => {
                let word = expected.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
                if let Some(word) = word.filter(|word| !self.known.contains_key(*word)) {
                    self.known.insert(word.to_owned(), came.clone());
                    return Ok(());
                }
                let expected = self.filled(expected);
                (expected == *came).then_some(()).ok_or(format!("`{came}` instead of `{expected}`"))
            }
            (expected, came) => (expected == came).then_some(()).ok_or(format!("{came} instead of {expected}")),
        }
    }

    /// Something that happens elsewhere: a request with the secret key.
    async fn request(&self, line: &str, body: &str) -> Result<(), String> {
        let (method, path) = line.split_once(' ').ok_or("a method and a path")?;
        let method = method.parse::<Method>().map_err(|error| error.to_string())?;
        let body = if body.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(body).map_err(|error| error.to_string())?
        };
        let reply = self.server.call(method, path, body).await?;
        (reply.status == 200).then_some(()).ok_or(format!("{} {}", reply.status, reply.body))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_page_of_the_protocol_shows_is_so() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/socket.md")).unwrap();
    let blocks = blocks(&page);
    let mut player = Player::start();
    for block in &blocks {
        if let Err(fault) = player.play(block).await {
            panic!("docs/socket.md, line {} ({}): {fault}", block.line, block.kind);
        }
    }
    player.hang_up().await.unwrap();
    let frames = blocks.iter().filter(|block| block.kind.starts_with("frame")).count();
    assert!(frames > 40, "only {frames} frames: the page shows little");
}

/// A player that lets things pass would let the page grow old.
#[tokio::test]
async fn the_player_lets_nothing_pass_that_is_not_on_the_page() {
    let mut player = Player {
        server: Process::laid_out(""),
        known: BTreeMap::new(),
        socket: None,
        signing: Default::default(),
        last: Value::Null,
    };
    for (expected, came, is_same) in [
        (json!({"a": 1}), json!({"a": 1}), true),
        (json!({"a": 1}), json!({"a": 2}), false),
        (json!({"a": 1}), json!({"a": 1, "b": 2}), false),
        (json!({"a": 1, REST: REST}), json!({"a": 1, "b": 2}), true),
        (json!({"a": 1, REST: REST}), json!({"b": 2}), false),
        (json!([1]), json!([1, 2]), false),
        (json!([1, 2]), json!([1]), false),
        (json!(["{id}"]), json!(["x"]), true),
        (json!(["{id}", "/{id}"]), json!(["x", "/x"]), true),
        (json!(["{id}"]), json!(["y"]), false),
        (json!("{other}"), json!(null), false),
        (json!(null), json!("x"), false),
    ] {
        assert_eq!(player.compare(&expected, &came).is_ok(), is_same, "{expected} {came}");
    }
    assert!(std::panic::catch_unwind(|| blocks("As in `[null,\"1\",\"phoenix\",\"heartbeat\",{}]`.")).is_err());
    let unknown = Block { line: 1, kind: "json", text: "{}".to_owned() };
    assert!(player.play(&unknown).await.is_err());
}
