//! A proxy between the operator and the API server that injects faults of networks and servers.
//!
//! ```text
//! operator ──TLS──▶ gate ──▶ record ──▶ rules ──▶ exchange ──TLS──▶ kube-apiserver
//!                     ◀──────────── shape ◀──────────┘
//! ```
//!
//! [`Rule`]s select requests by verb, path and the nth call. Every [`Call`] is recorded. The proxy forwards bearer tokens, so
//! the API server authorizes the caller and not the proxy; client certificates are not forwarded. Bodies stream: an event of a
//! watch is forwarded when it arrives. A request without a rule is not changed.

mod exchange;
mod gate;
mod record;
mod request;
mod rule;
mod shape;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use testkit::glob::glob;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use record::Call;
pub use request::Verb;
pub use rule::{Fault, Point, Rule, RuleHandle};

use crate::cluster::pki::{Authority, Identity};
use crate::poll::eventually;
use crate::{ControlPlane, TokenKubeconfig, tls};
use gate::{Gate, Gated};
use record::Record;
use rule::Rules;

/// A running proxy. It belongs to the runtime that started it. Dropping the handle stops it.
#[derive(Debug)]
#[must_use]
pub struct FaultProxy {
    url: String,
    ca: PathBuf,
    gate: Gate,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    server: tls::Server,
    rules: Mutex<Rules>,
    record: Record,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            server,
            rules,
            record,
        } = self;
        f.debug_struct("Shared")
            .field("server", &server.address)
            .field("rules", rules)
            .field("record", record)
            .finish()
    }
}

impl Shared {
    fn meet(&self, verb: Verb, path: &str) -> Option<RuleHandle> {
        self.rules
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .meet(verb, path)
    }
}

impl FaultProxy {
    /// Starts a proxy in front of this control plane.
    pub async fn start(plane: &ControlPlane) -> Result<Self> {
        let authority = Authority::create("sidewatch fault proxy")?;
        let name = plane.unique("fault-proxy");
        let ca = authority.write_certificate(plane.dir(), &name)?;
        let identity: Identity = authority.server(plane.dir(), &format!("{name}-server"))?;
        let acceptor = tls::acceptor(&identity)?;
        let shared = Arc::new(Shared {
            server: tls::Server {
                address: plane.address(),
                connector: tls::connector(plane.ca_path())?,
            },
            rules: Mutex::default(),
            record: Record::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("listen")?;
        let address: SocketAddr = listener.local_addr()?;
        let gate = Gate::default();
        let accepting = tokio::spawn(accept(listener, acceptor, gate.clone(), Arc::clone(&shared)));
        Ok(Self {
            url: format!("https://{address}"),
            ca,
            gate,
            shared,
            accepting: accepting.abort_handle(),
        })
    }

    /// Writes a kubeconfig file for this token, with the address and the authority of the proxy.
    pub fn kubeconfig(&self, plane: &ControlPlane, token: &str) -> Result<TokenKubeconfig> {
        plane.kubeconfig_at(&self.url, &self.ca, token)
    }

    /// Adds a rule after the active ones.
    pub fn add(&self, rule: Rule) -> RuleHandle {
        let mut rules = self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.add(rule)
    }

    /// Stops all traffic: connections stay open, the kernel accepts new ones, nothing is forwarded.
    pub fn partition(&self) {
        self.gate.shut();
    }

    /// Ends [`Self::partition`].
    pub fn heal(&self) {
        self.gate.open();
    }

    /// Closes the connections of active requests with this verb (or any) and path pattern; returns their number.
    pub fn cut(&self, verb: impl Into<Option<Verb>>, path: &str) -> usize {
        let verb = verb.into();
        self.shared
            .record
            .cut(|call| verb.is_none_or(|verb| verb == call.verb) && glob(path, &call.path))
    }

    /// All requests so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.record.calls()
    }

    /// All requests with this verb and path pattern.
    pub fn calls_of(&self, verb: Verb, path: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.verb == verb && glob(path, &call.path));
        calls
    }

    /// Waits for the nth call with this verb and path pattern.
    pub async fn wait_for_call(&self, verb: Verb, path: &str, nth: usize, timeout: Duration) -> Result<Call> {
        eventually(timeout, async || {
            let calls = self.calls_of(verb, path);
            let call = calls.get(nth.saturating_sub(1)).cloned();
            call.with_context(|| format!("{} of {nth} requests to {verb} {path}", calls.len()))
        })
        .await
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, gate: Gate, shared: Arc<Shared>) {
    // Its tasks are aborted with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, acceptor.clone(), gate.clone(), Arc::clone(&shared)));
                }
                // For example out of file descriptors: clients see a closed port.
                Err(_) => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection. Only the client sees its errors.
async fn connection(stream: TcpStream, acceptor: TlsAcceptor, gate: Gate, shared: Arc<Shared>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(stream) = acceptor.accept(Gated::new(stream, gate)).await else {
        return;
    };
    let service = service_fn(|request| exchange::serve(Arc::clone(&shared), request));
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
