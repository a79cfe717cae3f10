//! Chooses the proxy for the API server from the environment, by the rules of kubectl: those of Go's
//! `golang.org/x/net/http/httpproxy`. kube compares NO_PROXY with the URL of the proxy, and fails for a comma at its end.
//!
//! Input: the variables and the URL of the API server. Output: the URL of a proxy, if there is one. A variable that cannot be
//! read counts as not set, as in Go.

use std::net::IpAddr;

use http::Uri;

/// The variables that choose a proxy.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    /// The proxy for servers with HTTP.
    http: String,
    /// The proxy for servers with HTTPS.
    https: String,
    /// The servers that are reached without a proxy.
    excluded: String,
}

impl Variables {
    /// Reads the environment. The names in upper case come first.
    pub(super) fn from_env() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    #[cfg(test)]
    pub(super) fn of_https(proxy: &str, no_proxy: &str) -> Self {
        Self {
            http: String::new(),
            https: proxy.to_owned(),
            excluded: no_proxy.to_owned(),
        }
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&str; 2]| {
            let mut values = names.into_iter().filter_map(&variable);
            values.find(|value| !value.is_empty()).unwrap_or_default()
        };
        Self {
            http: first(["HTTP_PROXY", "http_proxy"]),
            https: first(["HTTPS_PROXY", "https_proxy"]),
            excluded: first(["NO_PROXY", "no_proxy"]),
        }
    }

    /// Returns the proxy for requests to this server.
    pub(super) fn proxy_for(&self, server: &Uri) -> Option<Uri> {
        let (proxy, default_port) = match server.scheme_str() {
            Some("https") => (&self.https, 443),
            Some("http") => (&self.http, 80),
            _ => return None,
        };
        let proxy = parse(proxy)?;
        let host = server.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
        let port = server.port_u16().unwrap_or(default_port);
        (!is_direct(&host, port, &self.excluded)).then_some(proxy)
    }
}

/// Parses the URL of a proxy. A value without a known scheme is a host of an HTTP proxy.
fn parse(proxy: &str) -> Option<Uri> {
    let has_scheme = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https" | "socks5"));
    let whole = proxy.parse().ok().filter(has_scheme);
    whole.or_else(|| {
        format!("http://{proxy}")
            .parse()
            .ok()
            .filter(|uri: &Uri| uri.host().is_some())
    })
}

/// Reports whether a server is reached without the proxy.
fn is_direct(host: &str, port: u16, no_proxy: &str) -> bool {
    let ip: Option<IpAddr> = host.parse().ok().map(|ip: IpAddr| ip.to_canonical());
    let is_local = host == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
    is_local
        || no_proxy
            .split(',')
            .any(|entry| is_match(&entry.trim().to_ascii_lowercase(), host, port, ip))
}

/// Compares a server with one entry of NO_PROXY.
fn is_match(entry: &str, host: &str, port: u16, ip: Option<IpAddr>) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = cidr(entry) {
        return ip.is_some_and(|ip| contains(network, bits, ip));
    }
    let (name, entry_port) = match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, port),
        Some((name, port)) if name.starts_with('[') && name.ends_with(']') => {
            (name.trim_matches(['[', ']']), port)
        }
        _ => (entry, ""),
    };
    let is_port = entry_port.is_empty() || entry_port.parse() == Ok(port);
    if let Ok(entry_ip) = name.parse::<IpAddr>() {
        return is_port && ip == Some(entry_ip.to_canonical());
    }
    let name = name
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(name);
    let is_host = match name.strip_prefix('.') {
        Some(_) => host.ends_with(name),
        None => {
            host == name
                || host
                    .strip_suffix(name)
                    .is_some_and(|before| before.ends_with('.'))
        }
    };
    !name.is_empty() && is_port && is_host
}

/// Parses a network, such as `10.0.0.0/8`.
fn cidr(entry: &str) -> Option<(IpAddr, u32)> {
    let (network, bits) = entry.split_once('/')?;
    let network: IpAddr = network.parse().ok()?;
    let bits = bits.parse().ok()?;
    let longest = if network.is_ipv4() { 32 } else { 128 };
    (bits <= longest).then_some((network, bits))
}

fn contains(network: IpAddr, bits: u32, ip: IpAddr) -> bool {
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            let shift = 32 - bits;
            network.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            let shift = 128 - bits;
            network.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "http://proxy:3128";

    fn chosen(variables: &[(&str, &str)], server: &str) -> Option<String> {
        let known = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name)?;
            Some(found.1.to_owned())
        };
        let proxy = Variables::of(known).proxy_for(&server.parse().unwrap())?;
        Some(proxy.to_string().trim_end_matches('/').to_owned())
    }

    /// Variables, the server, the expected proxy, and the reason.
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, Option<&'a str>, &'a str);

    #[test]
    fn the_proxy_is_chosen_by_the_scheme_of_the_server() {
        let (https, http) = ("https://api.example.com:6443", "http://api.example.com:8080");
        #[rustfmt::skip]
        let table: [Row<'_>; 14] = [
            (&[], https, None, "no variable"),
            (&[("HTTPS_PROXY", PROXY)], https, Some(PROXY), "https"),
            (&[("HTTPS_PROXY", PROXY)], http, None, "HTTPS_PROXY is not for http"),
            (&[("HTTP_PROXY", PROXY)], http, Some(PROXY), "http"),
            (&[("HTTP_PROXY", PROXY)], https, None, "HTTP_PROXY is not for https"),
            (&[("https_proxy", PROXY)], https, Some(PROXY), "lower case"),
            (&[("http_proxy", PROXY)], http, Some(PROXY), "lower case, http"),
            (&[("HTTPS_PROXY", PROXY), ("https_proxy", "http://other")], https, Some(PROXY), "upper case first"),
            (&[("HTTPS_PROXY", ""), ("https_proxy", PROXY)], https, Some(PROXY), "an empty value is not set"),
            (&[("HTTPS_PROXY", "proxy:3128")], https, Some(PROXY), "no scheme"),
            (&[("HTTPS_PROXY", "proxy")], https, Some("http://proxy"), "a host alone"),
            (&[("HTTPS_PROXY", "socks5://proxy:1080")], https, Some("socks5://proxy:1080"), "SOCKS"),
            (&[("HTTPS_PROXY", "http://u:p@proxy:3128")], https, Some("http://u:p@proxy:3128"), "credentials"),
            (&[("HTTPS_PROXY", "no proxy")], https, None, "no URL"),
        ];
        for (variables, server, expected, why) in table {
            assert_eq!(chosen(variables, server).as_deref(), expected, "{why}");
        }
    }

    #[test]
    fn no_proxy_is_compared_with_the_server() {
        let table = [
            ("api.example.com", "api.example.com:6443", true, "the host"),
            ("API.Example.com", "api.example.com:6443", true, "any case"),
            ("example.com", "api.example.com:6443", true, "a domain"),
            ("ample.com", "api.example.com:6443", false, "only whole labels"),
            (".example.com", "api.example.com:6443", true, "a leading dot"),
            (
                ".example.com",
                "example.com",
                false,
                "a leading dot is for subdomains only",
            ),
            ("*.example.com", "api.example.com", true, "an asterisk and a dot"),
            ("*.example.com", "example.com", false, "for subdomains only"),
            ("*", "api.example.com", true, "everything"),
            ("other,*", "10.1.2.3", true, "everything, among others"),
            ("api.example.com:6443", "api.example.com:6443", true, "a port"),
            (
                "api.example.com:6443",
                "api.example.com:443",
                false,
                "another port",
            ),
            ("example.com:443", "api.example.com", true, "the default port"),
            ("10.0.0.1", "10.0.0.1:6443", true, "an address"),
            ("10.0.0.1", "10.0.0.10", false, "another address"),
            ("10.0.0.1:6443", "10.0.0.1:6443", true, "an address and a port"),
            (
                "10.0.0.1:443",
                "10.0.0.1:6443",
                false,
                "an address and another port",
            ),
            ("10.0.0.0/8", "10.200.3.4:6443", true, "a network"),
            ("10.0.0.0/8", "11.0.0.1", false, "another network"),
            (
                "10.1.2.3/8",
                "10.200.3.4",
                true,
                "a network that is written with a host",
            ),
            ("0.0.0.0/0", "192.0.2.1", true, "every address"),
            ("0.0.0.0/0", "api.example.com", false, "a name is not resolved"),
            ("fd00::/8", "[fd00::1]:6443", true, "a network of IPv6"),
            ("fd00::1", "[fd00::1]:6443", true, "an address of IPv6"),
            (
                "[fd00::1]:6443",
                "[fd00::1]:6443",
                true,
                "an address of IPv6 and a port",
            ),
            ("10.0.0.0/33", "10.0.0.1", false, "no network"),
            (
                "other, api.example.com ,",
                "api.example.com",
                true,
                "spaces, and a comma at the end",
            ),
            (",,", "api.example.com", false, "commas alone"),
            (":6443", "api.example.com:6443", false, "a port alone"),
            (" ", "api.example.com", false, "a space"),
            ("other", "api.example.com", false, "another host"),
            ("proxy", "api.example.com", false, "the host of the proxy"),
            ("", "localhost:6443", true, "localhost"),
            ("", "127.0.0.1:6443", true, "a loopback address"),
            ("", "[::1]:6443", true, "the loopback address of IPv6"),
            ("", "10.0.0.1", false, "empty"),
        ];
        for (no_proxy, server, is_direct, why) in table {
            for name in ["NO_PROXY", "no_proxy"] {
                let variables = [("HTTPS_PROXY", PROXY), (name, no_proxy)];
                let proxy = chosen(&variables, &format!("https://{server}"));
                assert_eq!(proxy.is_none(), is_direct, "{why}: {no_proxy:?} and {server}");
            }
        }
    }
}
