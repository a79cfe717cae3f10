//! The server of HTTP probes: as much of HTTP/1.1 as a kubelet's prober needs.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::say;
use crate::state::{Probe, State};

const TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_REQUEST: usize = 8 << 10;

/// Answers `/ready`, `/live` and `/started` from now on; port 0 takes a free one.
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

/// One request, one answer, and the end.
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
        say(&format!("a request without an answer: {error}"));
    }
}

/// The whole head, up to its empty line: what is left unread would reset the connection.
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
            return Err(io::Error::other("its head is too long"));
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The method and path that were asked for, and the status to answer with.
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
