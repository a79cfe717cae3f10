//! A proxy between the operator and the real API server that does to requests what networks and servers in trouble do.
//!
//! ```text
//! operator ──TLS──▶ gate ──▶ record ──▶ rules ──▶ exchange ──TLS──▶ kube-apiserver
//!                     ◀──────────── shape ◀──────────┘
//! ```
//!
//! Input: [`Rule`]s on verb, path and the how-manieth call. Output: [`Fault`]s on the wire, and a record of every [`Call`].
//! The caller's credentials are passed on as they are, so the API server judges the caller and not the proxy; client
//! certificates do not get through. Bodies stream: an event of a watch is passed on when it comes.
//!
//! Must not: change anything that no rule speaks of.

mod exchange;
mod gate;
mod record;
mod request;
mod rule;
mod shape;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use record::Call;
pub use request::Verb;
pub use rule::{Fault, Point, Rule, RuleHandle};

use crate::ControlPlane;
use crate::pki::{Authority, Identity};
use crate::tokens::TokenKubeconfig;
use gate::{Gate, Gated};
use record::Record;
use rule::Rules;

const POLL: Duration = Duration::from_millis(10);

/// A running proxy. It belongs to the runtime that it was started in, and ends with its handle.
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

    /// A kubeconfig file for this token that leads through the proxy and trusts nobody else.
    pub fn kubeconfig(&self, plane: &ControlPlane, token: &str) -> Result<TokenKubeconfig> {
        plane.kubeconfig_at(&self.url, &self.ca, token)
    }

    /// Puts a rule behind those that are at work.
    pub fn add(&self, rule: Rule) -> RuleHandle {
        let mut rules = self.shared.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.add(rule)
    }

    /// Turns the proxy into a black hole: connections stay, new ones are accepted by the system, and nothing passes.
    pub fn partition(&self) {
        self.gate.shut();
    }

    /// Ends [`Self::partition`].
    pub fn heal(&self) {
        self.gate.open();
    }

    /// Breaks the connections of the requests with this verb (or any) and path pattern that are going on; returns how many.
    pub fn cut(&self, verb: impl Into<Option<Verb>>, path: &str) -> usize {
        let verb = verb.into();
        self.shared
            .record
            .cut(|call| verb.is_none_or(|verb| verb == call.verb) && rule::glob(path, &call.path))
    }

    /// Every request so far, in its order.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.record.calls()
    }

    /// Those with this verb and path pattern.
    pub fn calls_of(&self, verb: Verb, path: &str) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.verb == verb && rule::glob(path, &call.path));
        calls
    }

    /// Waits until there are so many calls with this verb and path pattern, and returns the last of them.
    pub async fn wait_for_call(&self, verb: Verb, path: &str, nth: usize, timeout: Duration) -> Result<Call> {
        let deadline = Instant::now() + timeout;
        loop {
            let calls = self.calls_of(verb, path);
            if let Some(call) = calls.get(nth.saturating_sub(1)) {
                return Ok(call.clone());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} of {nth} requests to {verb} {path} within {timeout:?}",
                    calls.len()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, gate: Gate, shared: Arc<Shared>) {
    // Aborts what is in it when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, acceptor.clone(), gate.clone(), Arc::clone(&shared)));
                }
                // Out of file descriptors, or the like: clients see that nobody listens.
                Err(_) => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection; how it ends is the client's to know.
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
