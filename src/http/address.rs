//! The address that a server listens on, as written on the command line.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// An address to listen on, or a port on all addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `127.0.0.1:8080`, `[::1]:8080`
    At(SocketAddr),
    /// `:8080`: all addresses, IPv6 and IPv4 where the machine supports both.
    Everywhere(u16),
}

impl ListenAddress {
    /// Returns the addresses to try, in order. The first one that can be bound is used.
    pub fn candidates(self) -> Vec<SocketAddr> {
        match self {
            Self::At(address) => vec![address],
            Self::Everywhere(port) => vec![
                SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
                SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            ],
        }
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, InvalidListenAddress> {
        let everywhere = text.strip_prefix(':').and_then(|port| port.parse().ok());
        everywhere
            .map(Self::Everywhere)
            .or_else(|| text.parse().ok().map(Self::At))
            .ok_or(InvalidListenAddress)
    }
}

/// Error for a text that is not a listen address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use :PORT or ADDRESS:PORT, such as :8080, 127.0.0.1:8080 or [::1]:8080")]
pub struct InvalidListenAddress;
