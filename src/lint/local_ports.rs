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

/// Returns the ports that follow the name or the address of the local host.
pub(super) fn local_ports(words: &[String]) -> Vec<u16> {
    const HOSTS: [&str; 4] = ["localhost", "127.0.0.1", "[::1]", "::1"];
    let mut ports = Vec::new();
    for (i, word) in words.iter().enumerate() {
        for host in HOSTS {
            let next = || match words.get(i + 1).map(String::as_str) {
                Some("-p") => words.get(i + 2).map(String::as_str),
                next => next,
            };
            let after = word.split(host).skip(1);
            let attached = after.filter_map(|rest| {
                let digits = rest.strip_prefix([':', '/'])?;
                let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
                digits.get(..end)?.parse::<u16>().ok()
            });
            ports.extend(attached);
            if word == host {
                ports.extend(next().and_then(|port| port.parse::<u16>().ok()));
            }
        }
    }
    ports
}
