//! A WebSocket without manners: frames as the test wants them, valid or not.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::process::Process;

/// How long an answer may take; other tests share the machine.
pub const PATIENCE: Duration = Duration::from_secs(15);
pub const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// A connection that was upgraded.
pub struct Line {
    stream: TcpStream,
    beats: u32,
    /// Frames that were heard while another was waited for.
    heard: Vec<Value>,
}

/// What came from the server.
#[derive(Debug)]
pub enum Heard {
    Frame(Value),
    /// The end, with the code of the close frame if there was one.
    Closed(Option<u16>),
    Nothing,
}

impl Line {
    pub async fn open(server: &Process) -> Line {
        Line::open_with(server, &server.public).await
    }

    /// Opens one with another key than the server's first.
    pub async fn open_with(server: &Process, key: &str) -> Line {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!(
            "GET /ws/v1/websocket?&api_key={}&&vsn=2.0.0 HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            key, server.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.expect("an answer").unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Line { stream, beats: 0, heard: Vec::new() }
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.try_raw(bytes).await;
    }

    pub async fn try_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Begins a frame of `length` bytes.
    pub async fn announce(&mut self, opcode: u8, length: u64) {
        self.raw(&head(0x80 | opcode, length)).await;
    }

    pub async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let bytes = self.frames(opcode, payload, 1);
        self.raw(&bytes).await;
    }

    /// The same frame, `times` over.
    pub fn frames(&self, opcode: u8, payload: &[u8], times: usize) -> Vec<u8> {
        [head(0x80 | opcode, payload.len() as u64).as_slice(), payload].concat().repeat(times)
    }

    /// A message of `pieces` pieces of `size` bytes, the last of which is not the last.
    pub async fn fragments_without_end(&mut self, size: usize, pieces: usize) {
        let piece = vec![b' '; size];
        for number in 0..pieces {
            let first = if number == 0 { TEXT } else { 0 };
            let bytes = [head(first, size as u64).as_slice(), &piece].concat();
            match timeout(PATIENCE, self.try_raw(&bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    pub async fn text(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes()).await;
    }

    /// Sends a heartbeat and waits for its answer.
    pub async fn heartbeat(&mut self) {
        self.beats += 1;
        let reference = format!("beat-{}", self.beats);
        self.text(&json!([null, reference, "phoenix", "heartbeat", {}]).to_string()).await;
        assert_eq!(self.reply(&reference).await, json!({"status": "ok", "response": {}}), "F-SOC-05");
    }

    /// The payload of the reply to `reference`.
    pub async fn reply(&mut self, reference: &str) -> Value {
        self.reply_or_end(reference).await.unwrap_or_else(|| panic!("no reply to {reference}: the server hung up"))
    }

    pub async fn reply_or_end(&mut self, reference: &str) -> Option<Value> {
        let is_it = |frame: &Value| frame[1] == reference && frame[3] == "phx_reply";
        if let Some(at) = self.heard.iter().position(is_it) {
            return Some(self.heard.remove(at)[4].take());
        }
        loop {
            match self.hear().await {
                Heard::Frame(mut frame) if is_it(&frame) => return Some(frame[4].take()),
                Heard::Frame(frame) => self.heard.push(frame),
                Heard::Closed(_) => return None,
                Heard::Nothing => panic!("no reply to {reference} within {PATIENCE:?}"),
            }
        }
    }

    /// Waits for a delta or a snapshot that holds an item called `name`.
    pub async fn until_told(&mut self, name: &str) {
        let holds = |frame: &Value| {
            ["items", "entries"]
                .iter()
                .filter_map(|list| frame[4][list].as_array())
                .flatten()
                .any(|item| item["data"]["name"] == name)
        };
        if self.heard.drain(..).any(|frame| holds(&frame)) {
            return;
        }
        loop {
            match self.hear().await {
                Heard::Frame(frame) if holds(&frame) => return,
                Heard::Frame(_) => {}
                heard => panic!("never told of {name}: {heard:?}"),
            }
        }
    }

    /// What was heard on a topic while something else was waited for.
    pub fn heard_on(&self, topic: &str) -> Vec<&Value> {
        self.heard.iter().filter(|frame| frame[2] == topic).collect()
    }

    /// How the connection ends; frames before it are passed over.
    pub async fn end(&mut self) -> Heard {
        loop {
            match self.hear().await {
                Heard::Frame(_) => {}
                end => return end,
            }
        }
    }

    /// Reads until the server has nothing more to say, or hangs up; how many bytes there were.
    pub async fn drain(&mut self) -> u64 {
        let (mut total, mut buffer) = (0, vec![0; 1 << 16]);
        loop {
            match timeout(Duration::from_secs(2), self.stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) | Err(_) => return total,
                Ok(Ok(count)) => total += count as u64,
            }
        }
    }

    async fn hear(&mut self) -> Heard {
        match timeout(PATIENCE, self.read_frame()).await {
            Err(_) => Heard::Nothing,
            Ok(Err(_)) => Heard::Closed(None),
            Ok(Ok((CLOSE, payload))) => {
                Heard::Closed(payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]])))
            }
            Ok(Ok((_, payload))) => Heard::Frame(serde_json::from_slice(&payload).unwrap_or(Value::Null)),
        }
    }

    async fn read_frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let opcode = self.stream.read_u8().await? & 0x0F;
        let length = match self.stream.read_u8().await? {
            126 => u64::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await?,
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).await?;
        Ok((opcode, payload))
    }
}

/// The head of a masked frame; the mask is of zeros, so that the payload is sent as it is.
fn head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        0..126 => head.push(0x80 | length as u8),
        126..0x1_0000 => {
            head.push(0x80 | 126);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend(length.to_be_bytes());
        }
    }
    head.extend([0; 4]);
    head
}
