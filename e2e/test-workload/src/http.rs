//! HTTP server of the probes, with the part of HTTP/1.1 that a kubelet uses.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::say;
use crate::state::{Probe, State};

const TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_REQUEST: usize = 8 << 10;

/// Starts to answer `/ready`, `/live` and `/started`. Port 0 selects a free port.
pub(crate) fn listen(port: u16, state: State) -> Result<(), String> {
    let failed = |error| format!("listen on port {port}: {error}");
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(failed)?;
    say(&format!(
        "listening on port {}",
        listener.local_addr().map_err(failed)?.port()
    ));
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let state = state.clone();
            thread::spawn(move || serve(connection, &state));
        }
    });
    Ok(())
}

/// Answers one request and closes the connection.
fn serve(mut connection: TcpStream, state: &State) {
    let answered = read_head(&mut connection).and_then(|head| {
        let (request, status) = answer(&head, state);
        say(&format!("{request}: {status}"));
        write!(
            connection,
            "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    });
    if let Err(error) = answered {
        say(&format!("request failed: {error}"));
    }
}

/// Reads the whole head: unread data would reset the connection.
fn read_head(connection: &mut TcpStream) -> io::Result<String> {
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = connection.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(piece.get(..read).unwrap_or_default());
        if head.len() > LONGEST_REQUEST {
            return Err(io::Error::other("the head is too long"));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Method and path of the request, and the status of the answer.
fn answer(head: &str, state: &State) -> (String, &'static str) {
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let status = match path.strip_prefix('/').map(Probe::parse) {
        Some(Ok(_)) if method != "GET" => "405 Method Not Allowed",
        Some(Ok(probe)) if state.answer(probe) => "200 OK",
        Some(Ok(_)) => "503 Service Unavailable",
        _ => "404 Not Found",
    };
    (format!("{method} {path}"), status)
}
