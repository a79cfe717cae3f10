use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use http::StatusCode;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::AsyncWriteExt;
use tokio_rustls::{
    TlsConnector, client,
    rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version},
};

use super::*;
use crate::http::{
    address::ListenAddress,
    server::{Limits, Page, Pages, Protection, listen, serve},
    testing::{assert_closed_at_the_limit, assert_not_delayed, exchange, impatient, read_to_end},
};

const REQUEST: &str = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
/// The beginning of a record with a ClientHello of 512 bytes.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const SERVER_NAME: &str = "sidewatch.sidewatch-system.svc";

/// A directory as the kubelet mounts a Secret: the files are links into a directory that is replaced as a whole.
struct Mount {
    directory: PathBuf,
    revision: AtomicU32,
}

impl Mount {
    fn new(pair: &Pair) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "sidewatch-tls-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let mount = Self {
            directory: std::env::temp_dir().join(name),
            revision: AtomicU32::default(),
        };
        fs::create_dir_all(&mount.directory).unwrap();
        mount.replace(&pair.certificate, &pair.key);
        for name in [CERTIFICATE, KEY] {
            symlink(format!("..data/{name}"), mount.directory.join(name)).unwrap();
        }
        mount
    }

    fn replace(&self, certificate: &str, key: &str) {
        let revision = format!("..{}", self.revision.fetch_add(1, Ordering::Relaxed));
        let files = self.directory.join(&revision);
        fs::create_dir(&files).unwrap();
        fs::write(files.join(CERTIFICATE), certificate).unwrap();
        fs::write(files.join(KEY), key).unwrap();
        let next = self.directory.join("..data_tmp");
        symlink(revision, &next).unwrap();
        fs::rename(next, self.directory.join("..data")).unwrap();
    }

    fn tls(&self) -> Result<Arc<Tls>, TlsError> {
        Tls::new(&self.directory, Arc::new(Metrics::new().unwrap()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _leftover = fs::remove_dir_all(&self.directory);
    }
}

/// A self-signed certificate and its key.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

struct Hello;

impl Pages for Hello {
    fn page(&self, _: &str) -> Option<Page> {
        Some(Page::text(StatusCode::OK, "hello\n"))
    }
}

async fn start(tls: Arc<Tls>, limits: Limits) -> SocketAddr {
    let loopback = ListenAddress::At("127.0.0.1:0".parse().unwrap());
    let (listener, address) = listen(loopback).await.unwrap();
    let protection = Protection {
        tls: Some(tls),
        authorizer: None,
    };
    tokio::spawn(serve(listener, Arc::new(Hello), limits, protection));
    address
}

/// Connects as a client that trusts this certificate only.
async fn connect(
    address: SocketAddr,
    trusted: &Pair,
    versions: &[&'static SupportedProtocolVersion],
) -> io::Result<client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = SERVER_NAME.try_into().unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn get(address: SocketAddr, trusted: &Pair) -> io::Result<String> {
    let stream = connect(address, trusted, &[&version::TLS13]).await?;
    Ok(exchange(stream, REQUEST).await)
}

/// The numbers of successful and failed reloads.
fn reloads(tls: &Tls) -> [u64; 2] {
    ["ok", "error"].map(|outcome| {
        let series = format!("sidewatch_metrics_tls_reloads_total{{outcome=\"{outcome}\"}}");
        tls.metrics.counter(&series)
    })
}

#[tokio::test]
async fn serves_with_tls_1_2_and_1_3() {
    let pair = Pair::new();
    let mount = Mount::new(&pair);
    let address = start(mount.tls().unwrap(), Limits::default()).await;
    for (supported, expected) in [
        (&version::TLS12, ProtocolVersion::TLSv1_2),
        (&version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let stream = connect(address, &pair, &[supported]).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
    }
    let response = get(address, &pair).await.unwrap();
    assert!(
        response.starts_with("HTTP/1.1 200 OK") && response.ends_with("hello\n"),
        "{response}"
    );
}

#[tokio::test]
async fn plain_http_is_refused() {
    let mount = Mount::new(&Pair::new());
    let address = start(mount.tls().unwrap(), Limits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    // The server responds with an alert of TLS.
    let response = read_to_end(stream).await;
    let response = String::from_utf8_lossy(&response);
    assert!(!response.contains("hello"), "{response}");
}

#[tokio::test]
async fn a_replaced_certificate_is_served() {
    let (old, new) = (Pair::new(), Pair::new());
    let mount = Mount::new(&old);
    let tls = mount.tls().unwrap();
    let address = start(Arc::clone(&tls), Limits::default()).await;
    get(address, &old).await.unwrap();
    assert!(!tls.check().unwrap(), "no change");
    mount.replace(&new.certificate, &new.key);
    assert!(tls.check().unwrap());
    get(address, &new).await.unwrap();
    get(address, &old).await.unwrap_err();
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_does_not_replace_the_certificate() {
    let (old, new) = (Pair::new(), Pair::new());
    let mount = Mount::new(&old);
    let tls = mount.tls().unwrap();
    let address = start(Arc::clone(&tls), Limits::default()).await;
    let large = "x".repeat(300 << 10);
    #[rustfmt::skip]
    let table = [
        (new.certificate.as_str(), old.key.as_str(), "tls.crt and tls.key", "the key of another certificate"),
        (&new.certificate[..200], new.key.as_str(), "tls.crt", "a truncated certificate"),
        (new.certificate.as_str(), "", "tls.key", "an empty key"),
        ("", new.key.as_str(), "tls.crt", "an empty certificate"),
        (new.certificate.as_str(), large.as_str(), "more than 262144 bytes", "a large file"),
    ];
    for (certificate, key, expected, why) in table {
        mount.replace(certificate, key);
        let error = tls.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{why}: {error}");
        get(address, &old).await.unwrap();
        let error = mount.tls().map(drop).unwrap_err().to_string();
        assert!(error.contains(expected), "{why}: at the start: {error}");
    }
    fs::remove_file(mount.directory.join("..data")).unwrap();
    let error = tls.check().unwrap_err().to_string();
    assert!(
        error.contains("cannot read") && error.contains("tls.crt"),
        "{error}"
    );
    get(address, &old).await.unwrap();
    mount.replace(&new.certificate, &new.key);
    assert!(tls.check().unwrap());
    get(address, &new).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_files_are_compared_every_ten_seconds() {
    let (old, new) = (Pair::new(), Pair::new());
    let mount = Mount::new(&old);
    let tls = mount.tls().unwrap();
    let served = |tls: &Tls| tls.current.0.read().cert[0].clone();
    let reload = tokio::spawn(Arc::clone(&tls).reload());
    sleep(Duration::from_secs(25)).await;
    assert_eq!(reloads(&tls), [0, 0], "no change");
    mount.replace(&new.certificate, "broken");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(reloads(&tls), [0, 2], "each comparison counts");
    assert_eq!(served(&tls), old.der());
    mount.replace(&new.certificate, &new.key);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(reloads(&tls), [1, 2]);
    assert_eq!(served(&tls), new.der());
    reload.abort();
}

#[tokio::test]
async fn an_unfinished_handshake_is_closed() {
    let mount = Mount::new(&Pair::new());
    let address = start(mount.tls().unwrap(), impatient()).await;
    assert_closed_at_the_limit(address, b"").await;
    assert_closed_at_the_limit(address, CLIENT_HELLO).await;
}

#[tokio::test]
async fn abandoned_handshakes_do_not_delay_a_scrape() {
    let pair = Pair::new();
    let mount = Mount::new(&pair);
    let address = start(mount.tls().unwrap(), Limits::default()).await;
    let scrape = async { get(address, &pair).await.unwrap() };
    assert_not_delayed(address, CLIENT_HELLO, scrape).await;
}
