//! `bellwire health`: asks a running server how it is. An image that holds nothing else needs no curl for its probe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bellwire::config::Config;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Failure, block_on, say};

/// A server that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most that is read of an answer.
const MOST_READ: usize = 4096;

/// Whom to ask, and what.
#[derive(Args)]
pub(super) struct Asked {
    /// What to ask, such as http://10.0.0.7:4000/readyz [default: the server of the configuration, on this machine].
    url: Option<String>,
    /// Ask whether it takes traffic (/readyz), not only whether it is alive (/healthz).
    #[arg(long, conflicts_with = "url")]
    ready: bool,
    /// The configuration file [default: $BELLWIRE_CONFIG, else config/bellwire.toml if it is there, else the defaults].
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
}

/// Succeeds when the server says that all is well.
pub(super) fn health(asked: &Asked) -> Result<ExitCode, Failure> {
    let url = match &asked.url {
        Some(url) => url.clone(),
        None => {
            let config = Config::load(asked.config.as_deref()).map_err(|problems| Failure::problems(&problems))?;
            own_url(config.server.listen, asked.ready)
        }
    };
    let (status, told) = block_on(ask(&url))?;
    if !status.is_success() {
        return Err(Failure(format!("{url} answers {}: {told}", status.as_u16())));
    }
    say(told)?;
    Ok(ExitCode::SUCCESS)
}

/// Where a server that listens on `listen` is reached from its own machine.
fn own_url(listen: SocketAddr, ready: bool) -> String {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let path = if ready { "readyz" } else { "healthz" };
    format!("http://{}/{path}", SocketAddr::new(ip, listen.port()))
}

async fn ask(url: &str) -> Result<(StatusCode, String), Failure> {
    let late = |_| Failure(format!("{url} gives no answer within {} s.", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, answer(url)).await.map_err(late)?
}

async fn answer(url: &str) -> Result<(StatusCode, String), Failure> {
    let place: Option<Uri> = url.parse().ok().filter(|uri: &Uri| uri.scheme_str() == Some("http"));
    let authority = place.as_ref().and_then(Uri::authority);
    let (Some(uri), Some(authority)) = (&place, authority) else {
        return Err(Failure(format!("`{url}` must be like http://127.0.0.1:4000/readyz.")));
    };
    let unreachable = |error: std::io::Error| Failure(format!("{url} can't be reached: {error}."));
    let broken = |error: hyper::Error| Failure(format!("{url} breaks off: {error}."));
    // An IPv6 address stands in brackets there, which no resolver knows.
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with this command.
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(HOST, authority.as_str()).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_READ).collect().await;
    // A long answer is a page, and the status is what was asked for.
    let told = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
    Ok((status, told.unwrap_or_else(|_| "a long answer".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_this_machine() {
        for (listen, url) in [
            ("0.0.0.0:4000", "http://127.0.0.1:4000/healthz"),
            ("[::]:80", "http://[::1]:80/healthz"),
            ("10.0.0.7:4000", "http://10.0.0.7:4000/healthz"),
        ] {
            assert_eq!(own_url(listen.parse().expect("an address"), false), url);
        }
        assert_eq!(own_url(SocketAddr::from(([127, 0, 0, 1], 4000)), true), "http://127.0.0.1:4000/readyz");
    }
}
