//! TLS with a certificate from a directory, which is read again when it changes.
//!
//! The directory contains `tls.crt` and `tls.key` in PEM, as a mounted Secret of type `kubernetes.io/tls` does. The
//! kubelet replaces the files of a mounted Secret by a new symbolic link, and cert-manager renews a certificate before it
//! expires. The files are therefore compared every ten seconds. A pair that cannot be used does not replace the previous
//! one. TLS 1.2 and 1.3 are supported, without session resumption: it would keep the state of clients in memory.

use std::{
    convert::Infallible,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use tokio::{net::TcpStream, task::spawn_blocking, time::sleep};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring::default_provider,
        pki_types::pem::PemObject,
        pki_types::{CertificateDer, PrivateKeyDer, pem},
        server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
        sign::CertifiedKey,
    },
    server::TlsStream,
};
use tracing::{info, warn};

use crate::telemetry::metrics::{Metrics, TlsReload};

/// Names of the files, as in a Secret of type `kubernetes.io/tls`.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// Maximum size of a file in bytes.
const MAX_FILE: u64 = 256 << 10;
/// Time between two comparisons of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum plaintext in bytes that a connection holds until the client reads. A TLS record has at most 16 KiB.
const WRITE_BUFFER: usize = 16 << 10;

/// Error that prevents the use of a certificate and its key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// A file is too large.
    #[error("{} has more than {MAX_FILE} bytes", .0.display())]
    TooLarge(PathBuf),
    /// A file is not PEM, or has no certificate or key.
    #[error("cannot use {}: {error}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: pem::Error,
    },
    /// The certificate and the key are not a pair, or their algorithm is not supported.
    #[error("cannot use {CERTIFICATE} and {KEY} in {}: {error}", directory.display())]
    Pair {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        error: rustls::Error,
    },
}

/// The contents of both files.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// TLS of a server.
pub struct Tls {
    directory: PathBuf,
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    /// The files of the latest comparison.
    files: RwLock<Files>,
    metrics: Arc<Metrics>,
}

impl Tls {
    /// Reads the certificate and its key from a directory.
    pub fn new(directory: &Path, metrics: Arc<Metrics>) -> Result<Arc<Self>, TlsError> {
        let files = Files::read(directory)?;
        let certified = files.certified_key(directory)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Pair {
                directory: directory.to_owned(),
                error,
            })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as _);
        config.alpn_protocols = vec![b"http/1.1".into()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(Self {
            directory: directory.to_owned(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            current,
            files: RwLock::new(files),
            metrics,
        }))
    }

    /// Waits for the handshake of a client.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor
            .accept_with(stream, |connection| {
                connection.set_buffer_limit(Some(WRITE_BUFFER));
            })
            .await
    }

    /// Compares the files every ten seconds, and uses a new certificate. Runs until the future is dropped.
    pub(super) async fn reload(self: Arc<Self>) -> Infallible {
        let mut failed = None;
        loop {
            sleep(CHECK_INTERVAL).await;
            let tls = Arc::clone(&self);
            let Ok(outcome) = spawn_blocking(move || tls.check()).await else {
                continue;
            };
            match outcome {
                Ok(false) => failed = None,
                Ok(true) => {
                    info!(directory = %self.directory.display(), "metrics certificate reloaded");
                    self.metrics.tls_reload(TlsReload::Ok);
                    failed = None;
                }
                Err(error) => {
                    self.metrics.tls_reload(TlsReload::Error);
                    let message = error.to_string();
                    // The same failure is logged once.
                    if failed.as_ref() != Some(&message) {
                        warn!(
                            error = message,
                            "metrics certificate not reloaded, the previous one stays in use"
                        );
                    }
                    failed = Some(message);
                }
            }
        }
    }

    /// Reads the files. Returns whether they replaced the certificate.
    fn check(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.directory)?;
        if *self.files.read() == files {
            return Ok(false);
        }
        let certified = files.certified_key(&self.directory)?;
        *self.current.0.write() = Arc::new(certified);
        *self.files.write() = files;
        Ok(true)
    }
}

/// The certificate in use.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

impl Files {
    fn read(directory: &Path) -> Result<Self, TlsError> {
        let read = |name| {
            let path = directory.join(name);
            let mut content = Vec::new();
            let read = File::open(&path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut content));
            match read {
                Err(error) => Err(TlsError::Read { path, error }),
                Ok(_) if content.len() as u64 > MAX_FILE => Err(TlsError::TooLarge(path)),
                Ok(_) => Ok(content),
            }
        };
        Ok(Self {
            certificate: read(CERTIFICATE)?,
            key: read(KEY)?,
        })
    }

    fn certified_key(&self, directory: &Path) -> Result<CertifiedKey, TlsError> {
        let unusable = |name| {
            let path = directory.join(name);
            |error| TlsError::Pem { path, error }
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(unusable(CERTIFICATE))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(unusable(KEY))?;
        // Also compares the key with the certificate.
        CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| TlsError::Pair {
            directory: directory.to_owned(),
            error,
        })
    }
}

#[cfg(test)]
mod tests;
