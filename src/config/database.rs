//! The address of the database: what libpq's URLs say, and whom to trust.

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::StorePlace;
use crate::store::Place;
use crate::store::postgres::Settings;

/// Which key is wrong, and how.
pub(super) type Fault = (&'static str, String);

/// Where the store is, as its section says.
pub(super) fn place(store: &StorePlace) -> Result<Place, Fault> {
    let Some(url) = &store.url else { return Ok(Place::File(store.path.clone())) };
    let (url, mode) = without_mode(url.reveal())?;
    let wrong = |message: String| ("url", message);
    let mut config = Config::from_str(&url).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        wrong(format!(
            "is no address of a PostgreSQL database{cause}: write postgres://user:password@host:5432/database"
        ))
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(wrong("names no host: write postgres://user:password@host:5432/database".to_owned()));
    }
    if config.get_dbname().is_none() {
        return Err(wrong("names no database: write postgres://user:password@host:5432/database".to_owned()));
    }
    if config.get_application_name().is_none() {
        config.application_name("bellwire");
    }
    let patience = Duration::from_secs(store.timeout_seconds);
    config.connect_timeout(patience.min(Duration::from_secs(5)));
    config.keepalives_idle(Duration::from_secs(30)).keepalives_interval(Duration::from_secs(10)).keepalives_retries(3);
    config.tcp_user_timeout(patience.max(Duration::from_secs(10)));
    config.ssl_mode(match mode {
        Mode::Disable => SslMode::Disable,
        Mode::Prefer => SslMode::Prefer,
        Mode::Require | Mode::Verify => SslMode::Require,
    });
    let is_verified = mode == Mode::Verify || (mode == Mode::Require && store.ca_file.is_some());
    let tls = tls(is_verified, store.ca_file.as_deref())?;
    let connections = usize::try_from(store.connections).unwrap_or(usize::MAX);
    Ok(Place::Postgres(Box::new(Settings { config, tls: Arc::new(tls), connections, patience })))
}

/// How much of the encryption is insisted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    Verify,
}

/// The address without its `sslmode`, which the driver knows in part only, and that.
fn without_mode(url: &str) -> Result<(String, Mode), Fault> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err((
            "url",
            "must begin with postgres://, such as postgres://user:password@host:5432/database".to_owned(),
        ));
    }
    let Some((address, query)) = url.split_once('?') else { return Ok((url.to_owned(), Mode::Prefer)) };
    let mut mode = Mode::Prefer;
    let mut others = Vec::new();
    for pair in query.split('&') {
        match pair.strip_prefix("sslmode=") {
            None => others.push(pair),
            Some("disable") => mode = Mode::Disable,
            Some("allow" | "prefer") => mode = Mode::Prefer,
            Some("require") => mode = Mode::Require,
            Some("verify-ca" | "verify-full") => mode = Mode::Verify,
            Some(other) => {
                let message = format!("has sslmode={other}: it is disable, prefer, require, verify-ca or verify-full");
                return Err(("url", message));
            }
        }
    }
    Ok((if others.is_empty() { address.to_owned() } else { format!("{address}?{}", others.join("&")) }, mode))
}

/// Encryption that trusts whoever `ca_file` says, or this machine; or anybody, where nothing is verified.
pub(super) fn tls(is_verified: bool, ca_file: Option<&Path>) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ("url", format!("cannot be reached encrypted: {error}")))?;
    if !is_verified {
        let anybody = Arc::new(Anybody(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth());
    }
    let roots = match ca_file {
        Some(file) => roots_of(file)?,
        None => roots_of_this_machine()?,
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| ("ca_file", format!("holds no certificate to trust: {error}")))?;
    Ok(builder.with_webpki_verifier(verifier).with_no_client_auth())
}

pub(super) fn roots_of(file: &Path) -> Result<RootCertStore, Fault> {
    let wrong = |message: String| ("ca_file", format!("`{}` {message}", file.display()));
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(format!("can't be read: {error}")))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(format!("is no PEM file: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(format!("holds a certificate that can't be used: {error}")))?;
    }
    if roots.is_empty() { Err(wrong("holds no certificate".to_owned())) } else { Ok(roots) }
}

fn roots_of_this_machine() -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let message = "is empty, and this machine trusts no certificates: name a file of those that it may trust";
        return Err(("ca_file", message.to_owned()));
    }
    Ok(roots)
}

/// Takes any certificate, as libpq does unless it is told to verify: this keeps out who listens, not who pretends.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config as Whole;
    use crate::model::secret::Secret;

    fn store(url: &str) -> StorePlace {
        StorePlace { url: Some(Secret::new(url)), ..Whole::default().store }
    }

    fn fault(url: &str) -> String {
        let (key, message) = place(&store(url)).expect_err(url);
        format!("{key} {message}")
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said_without_its_password() {
        for (url, said) in [
            ("mysql://u:geheim@h/d", "url must begin with postgres://"),
            ("postgres://u:geheim@/d", "url names no host"),
            ("postgres://u:geheim@h", "url names no database"),
            ("postgres://u:geheim@h:port/d", "url is no address of a PostgreSQL database"),
            ("postgres://u:geheim@h/d?sslmode=yes", "url has sslmode=yes: it is disable"),
        ] {
            let fault = fault(url);
            assert!(fault.starts_with(said) && !fault.contains("geheim"), "{fault}");
        }
        assert!(
            !format!("{:?} {:?}", store("postgres://u:geheim@h/d"), place(&store("postgres://u:geheim@h/d")))
                .contains("geheim")
        );
    }

    #[test]
    fn whom_to_trust_is_a_file_that_can_be_read() {
        let with = |file: &str| StorePlace {
            ca_file: Some(file.into()),
            ..store("postgres://u@h/d?sslmode=verify-full&connect_timeout=3")
        };
        let (key, message) = place(&with("nowhere.pem")).expect_err("no such file");
        assert!(key == "ca_file" && message.starts_with("`nowhere.pem` can't be read"), "{message}");
        let (key, message) = place(&with("Cargo.toml")).expect_err("no certificates");
        assert!(key == "ca_file" && message.contains("holds no certificate"), "{message}");
        assert!(place(&store("postgresql://u@h/d?sslmode=require")).is_ok());
    }
    /// A node went on with a database of its own, empty, where its certificates had been put elsewhere.
    #[test]
    fn certificates_that_are_gone_make_no_other_database_of_it() {
        let gone = StorePlace { ca_file: Some("gone.pem".into()), ..store("postgres://u@h/d?sslmode=verify-full") };
        let said = gone.place().expect_err("nothing to go on with");
        assert!(said.starts_with("`ca_file` of [store] `gone.pem` can't be read"), "{said}");
    }
}
