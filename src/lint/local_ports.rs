//! The addresses of the local host in commands.

use super::shell_words::base_name;

/// Whether the command connects to an address once.
pub(super) fn connects(words: &[String]) -> bool {
    const CLIENTS: [&str; 10] = [
        "curl",
        "wget",
        "nc",
        "ncat",
        "netcat",
        "telnet",
        "pg_isready",
        "redis-cli",
        "mysqladmin",
        "grpc_health_probe",
    ];
    words.iter().any(|word| {
        CLIENTS.contains(&base_name(word)) || word.contains("/dev/tcp/") || word.contains("curl ")
    })
}

/// Whether the command waits until an address can be reached.
pub(super) fn waits(words: &[String]) -> bool {
    let Some(name) = words.first().map(|word| base_name(word)) else {
        return false;
    };
    let has = |option: &str| words.iter().any(|word| word.starts_with(option));
    match name {
        "wait-for-it" | "wait-for-it.sh" | "wait-for" | "wait-for.sh" | "wait4x" | "wait-port" => true,
        "dockerize" => has("-wait"),
        "curl" => has("--retry"),
        _ => false,
    }
}

/// Returns the ports that follow the name or the address of the local host, or else the default port of the scheme or of the
/// client.
pub(super) fn local_ports(words: &[String]) -> Vec<u16> {
    const HOSTS: [&str; 4] = ["localhost", "127.0.0.1", "[::1]", "::1"];
    let client = words.iter().find_map(|word| default_port(base_name(word)));
    let mut ports = Vec::new();
    for (i, word) in words.iter().enumerate() {
        for host in HOSTS {
            let attached = word.split(host).skip(1).filter_map(|rest| {
                let digits = rest.strip_prefix([':', '/']).unwrap_or_default();
                let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
                let port = digits.get(..end)?.parse::<u16>().ok();
                let has_no_port = rest.is_empty() || rest.starts_with('/');
                port.or_else(|| has_no_port.then(|| scheme_port(word)).flatten())
            });
            ports.extend(attached);
            if word == host {
                let next = match words.get(i + 1).map(String::as_str) {
                    Some("-p" | "-P" | "--port") => words.get(i + 2).map(String::as_str),
                    next => next,
                };
                ports.extend(next.and_then(|port| port.parse::<u16>().ok()).or(client));
            }
        }
    }
    ports
}

fn scheme_port(url: &str) -> Option<u16> {
    match url {
        _ if url.contains("http://") => Some(80),
        _ if url.contains("https://") => Some(443),
        _ => None,
    }
}

/// The port of a client of one server.
fn default_port(client: &str) -> Option<u16> {
    match client {
        "pg_isready" => Some(5432),
        "redis-cli" => Some(6379),
        "mysqladmin" => Some(3306),
        _ => None,
    }
}
