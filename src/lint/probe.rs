//! The probes of a container.

use super::{
    field::Field,
    pod::{Container, Pod},
    shell::Program,
};

/// A probe.
#[derive(Debug)]
pub struct Probe<'t> {
    /// The probe.
    pub field: Field<'t>,
}

/// The action of a probe, with its port as a number if the container declares the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `httpGet`: scheme, host, port and path.
    Http(String, String, String, String),
    /// `tcpSocket`: host and port.
    Tcp(String, String),
    /// `grpc`: port and service.
    Grpc(String, String),
    /// `exec`
    Exec(Program),
}

impl<'t> Probe<'t> {
    /// Returns a probe of a container.
    pub fn of(container: &Container<'t>, name: &str) -> Option<Self> {
        let field = container.field.get(name).filter(Field::is_mapping)?;
        Some(Self { field })
    }

    /// The action, if it has one.
    pub fn action(&self, container: &Container<'t>) -> Option<Action> {
        let text = |handler: &Field<'t>, name: &str, default: &str| {
            handler.text_of(name).unwrap_or_else(|| default.to_owned())
        };
        let port = |handler: &Field<'t>| {
            let written = text(handler, "port", "");
            let ports = container.ports();
            let named = ports
                .iter()
                .find(|port| port.name == written && !written.is_empty());
            named.map_or(written, |port| port.number.to_string())
        };
        if let Some(http) = self.field.get("httpGet") {
            return Some(Action::Http(
                text(&http, "scheme", "HTTP"),
                text(&http, "host", ""),
                port(&http),
                text(&http, "path", "/"),
            ));
        }
        if let Some(tcp) = self.field.get("tcpSocket") {
            return Some(Action::Tcp(text(&tcp, "host", ""), port(&tcp)));
        }
        if let Some(grpc) = self.field.get("grpc") {
            return Some(Action::Grpc(port(&grpc), text(&grpc, "service", "")));
        }
        let command = self.field.at(&["exec", "command"])?;
        Some(Action::Exec(Program::new(&command.texts())))
    }

    /// The port of the action and its field. `None` for a command, and for a host other than the Pod.
    pub fn port(&self) -> Option<(u16, Field<'t>)> {
        let handler = ["httpGet", "tcpSocket", "grpc"]
            .iter()
            .find_map(|name| self.field.get(name))?;
        let host = handler.text_of("host").unwrap_or_default();
        if !matches!(host.as_str(), "" | "localhost" | "127.0.0.1" | "::1") {
            return None;
        }
        let field = handler.get("port")?;
        let number = field.number()?.try_into().ok()?;
        Some((number, field))
    }

    /// The time from the first failure until the kubelet acts, in seconds: `failureThreshold` times `periodSeconds`.
    pub fn seconds_to_act(&self) -> i64 {
        let number = |name: &str, default: i64| {
            let field = self.field.get(name);
            field
                .and_then(|field| field.number())
                .filter(|n| *n > 0)
                .unwrap_or(default)
        };
        number("failureThreshold", 3).saturating_mul(number("periodSeconds", 10))
    }
}

impl<'t> Pod<'t> {
    /// Returns the long-running container that declares a TCP port.
    pub fn declares_tcp_port(&self, number: u16) -> Option<&Container<'t>> {
        self.containers.iter().find(|container| {
            let declares = |port: &super::pod::Port<'_>| port.number == number && port.protocol == "TCP";
            container.is_long_running() && container.ports().iter().any(declares)
        })
    }
}
