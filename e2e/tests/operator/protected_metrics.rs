//! `--metrics-tls` and `--metrics-auth` with a real API server and a real Prometheus. Clients that misbehave: [`crate::threats`].

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::observers::prometheus::Prometheus;
use e2e::operator::{NAMESPACE, Operator, SERVICE_ACCOUNT, install_crds, install_rbac};
use e2e::poll::eventually;
use e2e::process::Scratch;
use e2e::project::read;
use e2e::{ControlPlane, TokenKubeconfig, tls};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

const SOON: Duration = Duration::from_mins(1);
const SERVER_NAME: &str = "sidewatch.sidewatch-system.svc";
const SCRAPER: &str = "127.0.0.1:0";

/// The role of a scraper, bound to one ServiceAccount.
const BINDING: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: prometheus-metrics}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sidewatch-metrics-reader}
subjects: [{kind: ServiceAccount, name: prometheus, namespace: monitoring}]
";

/// A directory with a self-signed certificate and its key.
fn write_certificate(directory: &Path) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(directory.join("tls.crt"), certificate.pem()).unwrap();
    fs::write(directory.join("tls.key"), key.serialize_pem()).unwrap();
}

/// An operator whose metrics are protected.
pub(crate) struct Setup {
    plane: ControlPlane,
    pub(crate) operator: Operator,
    files: Scratch,
    _kubeconfig: TokenKubeconfig,
}

impl Setup {
    /// Starts the operator with its normal role, which does not permit reviews.
    pub(crate) async fn start() -> Self {
        let plane = ControlPlane::start().await.unwrap();
        install_crds(&plane).await.unwrap();
        install_rbac(&plane).await.unwrap();
        plane.kubectl_line("create namespace monitoring").await.unwrap();
        let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await.unwrap();
        let files = Scratch::new().unwrap();
        write_certificate(files.path());
        let directory = files.path().to_str().unwrap();
        let flags = ["--metrics-tls", directory, "--metrics-auth"];
        let mut operator = Operator::start(&plane, kubeconfig.path(), &flags).await.unwrap();
        operator.wait_until_ready().await.unwrap();
        Self {
            plane,
            operator,
            files,
            _kubeconfig: kubeconfig,
        }
    }

    /// Permits reviews, and scrapes of the ServiceAccount `prometheus`.
    pub(crate) async fn add_roles(&self) {
        for name in ["auth_role", "auth_role_binding", "reader_role"] {
            let manifest = read(format!("config/protected-metrics/{name}.yaml")).unwrap();
            self.plane.apply(&manifest).await.unwrap();
        }
        self.plane.apply(BINDING).await.unwrap();
    }

    /// A token of a ServiceAccount in the namespace `monitoring`.
    pub(crate) async fn token(&self, name: &str) -> String {
        self.plane.service_account("monitoring", name).await.unwrap();
        let token = self
            .plane
            .token("monitoring", name, Duration::from_hours(1))
            .await;
        token.unwrap()
    }

    /// Opens a connection from this address, without a handshake.
    pub(crate) async fn connect(&self, from: &str) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(from.parse()?)?;
        let address: SocketAddr = self.operator.metrics_address().parse()?;
        Ok(socket.connect(address).await?)
    }

    /// Opens a connection from this address, and sends a request with this token.
    pub(crate) async fn request(&self, from: &str, token: Option<&str>) -> Result<TlsStream<TcpStream>> {
        let connector = tls::connector(&self.files.path().join("tls.crt"))?;
        let stream = self.connect(from).await?;
        let mut stream = connector.connect(SERVER_NAME.try_into()?, stream).await?;
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let request = format!(
            "GET /metrics HTTP/1.1\r\nhost: x\r\n{}\r\n",
            token.unwrap_or_default()
        );
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }

    /// Status and body of the response to a request from this address.
    pub(crate) async fn response(&self, from: &str, token: Option<&str>) -> Result<(u16, String)> {
        let mut stream = self.request(from, token).await?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await?;
        let response = String::from_utf8(response)?;
        let (head, body) = response.split_once("\r\n\r\n").context("no body")?;
        let status = head.split(' ').nth(1).context("no status")?;
        Ok((status.parse()?, body.to_owned()))
    }

    /// Scrapes until the status is this one, and returns the body.
    pub(crate) async fn until_status(&self, token: Option<&str>, expected: u16) -> String {
        let body = eventually(SOON, || async {
            let (status, body) = self.response(SCRAPER, token).await?;
            ensure!(status == expected, "{status} {body}");
            Ok(body)
        });
        body.await.unwrap()
    }
}

#[tokio::test]
async fn only_users_with_the_permission_get_the_metrics() {
    let mut setup = Setup::start().await;
    let (prometheus, other) = (setup.token("prometheus").await, setup.token("other").await);
    let body = setup.until_status(Some(&prometheus), 503).await;
    assert!(
        body.contains("cannot create tokenreviews") && body.contains("forbidden"),
        "without the permission for reviews: {body}"
    );
    setup.add_roles().await;
    let page = setup.until_status(Some(&prometheus), 200).await;
    assert!(page.contains("sidewatch_build_info"), "{page}");
    let body = setup.until_status(Some(&other), 403).await;
    assert!(body.contains("may not get the nonResourceURL /metrics"), "{body}");
    let body = setup.until_status(None, 401).await;
    assert!(body.contains("a bearer token is required"), "{body}");
    let body = setup.until_status(Some("guess"), 401).await;
    assert!(body.contains("does not accept the bearer token"), "{body}");

    // A certificate that is replaced while the operator runs.
    write_certificate(setup.files.path());
    setup.until_status(Some(&prometheus), 200).await;

    let unknown = setup.token("prometheus").await;
    setup.plane.kill_api_server().unwrap();
    let body = setup.until_status(Some(&unknown), 503).await;
    assert!(body.contains("cannot review the bearer token"), "{body}");
    let (status, _) = setup.response(SCRAPER, Some(&prometheus)).await.unwrap();
    assert_eq!(status, 200, "a token that was allowed recently");
    for answer in [setup.operator.livez().await, setup.operator.readyz().await] {
        assert_eq!(answer.unwrap().status, 200, "health pages need no token");
    }
    setup.plane.restart_api_server().await.unwrap();
    setup.until_status(Some(&unknown), 200).await;
}

#[tokio::test]
async fn prometheus_scrapes_with_a_token_and_a_certificate_authority() {
    let setup = Setup::start().await;
    setup.add_roles().await;
    let token = setup.files.path().join("token");
    fs::write(&token, setup.token("prometheus").await).unwrap();
    let job = json!({
        "job_name": "sidewatch",
        "honor_labels": true,
        "scheme": "https",
        "tls_config": {"ca_file": setup.files.path().join("tls.crt"), "server_name": SERVER_NAME},
        "authorization": {"credentials_file": token},
        "static_configs": [{"targets": [setup.operator.metrics_address()]}],
    });
    let prometheus = Prometheus::start_with(&[job], &json!({"groups": []}), Duration::from_secs(1))
        .await
        .unwrap();
    let scraped = eventually(SOON, || async {
        let samples = prometheus.query("sidewatch_build_info").await?;
        ensure!(!samples.is_empty(), "no series");
        Ok(())
    });
    scraped.await.unwrap();
}
