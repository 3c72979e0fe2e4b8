//! The protocol's own test suite against the server's socket code, as an echo; `tests/autobahn/run` runs it.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bellwire::clock::Clock;
use bellwire::hub;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Every case of the strict set passes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the suite from PyPI: run tests/autobahn/run"]
#[allow(clippy::disallowed_macros, reason = "the verdicts are what this is run for")]
async fn every_strict_case_of_autobahn_passes() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let suite = home.join("target/autobahn");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    let mut driver = Command::new("python3");
    driver.arg(home.join("tests/autobahn/drive.py")).args(["--performance", "--server", &address.to_string()]);
    driver.arg("--cases").arg(suite.join("autobahntestsuite/case")).arg("--report").arg(suite.join("report.json"));
    let output = tokio::task::block_in_place(|| driver.output()).expect("Python 3 starts");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Upgrades a connection, and sends back what comes.
async fn echo(mut stream: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
    assert!(STANDARD.decode(key).is_ok_and(|key| key.len() == 16), "{key}");
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        hub::echo(stream, Vec::new(), Clock::system().now()).await;
    }
}
