//! Sends spans of requests, jobs and runs to an OpenTelemetry collector, as OTLP over HTTP.
//!
//! The collector stands beside the node: TLS, authentication and keeping are its business.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::Failure;
use bellwire::config::Telemetry;

/// How long the collector may take for one delivery.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take for the last one: a stop has its deadline.
const LAST: Duration = Duration::from_millis(400);
/// The most that is read of what it answers.
const MOST_ANSWER: usize = 64 * 1024;
const PORT: u16 = 80;

/// Sends spans until it is stopped.
pub(super) struct Spans {
    provider: SdkTracerProvider,
}

impl Spans {
    /// Begins to send to the endpoint of `telemetry`, over connections that `runtime` serves.
    pub(super) fn start(endpoint: &str, telemetry: &Telemetry, runtime: Handle) -> Result<Self, Failure> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender { runtime })
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(PATIENCE)
            .build()?;
        let share = telemetry.sample_percent as f64 / 100.0;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
            .with_resource(Resource::builder().with_service_name("bellwire").build())
            .build();
        Ok(Spans { provider })
    }

    /// What listens to spans for it.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer: SdkTracer = self.provider.tracer("bellwire");
        tracing_opentelemetry::layer().with_tracer(tracer)
    }

    /// Sends what waits, for a moment.
    pub(super) fn stop(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Takes bytes to the collector, on a connection of their own: they are few.
#[derive(Clone)]
struct Sender {
    runtime: Handle,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl HttpClient for Sender {
    // It is called on a thread that has no runtime: the work is done on ours.
    fn send_bytes<'own, 'out>(
        &'own self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'out>>
    where
        'own: 'out,
    {
        let sending = self.runtime.spawn(async move { tokio::time::timeout(PATIENCE, send(request)).await });
        Box::pin(async move { sending.await?? })
    }
}

async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().ok_or("the endpoint names no host")?.clone();
    let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(PORT))).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    parts.uri = parts.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let response = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MOST_ANSWER).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, body))
}
