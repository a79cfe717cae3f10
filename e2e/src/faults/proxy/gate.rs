//! Simulates a network partition: while the [`Gate`] is closed, connections stay open and nothing is read or written. Data that
//! was sent in the meantime arrives when it opens.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Open by default.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    shut: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    pub(super) fn shut(&self) {
        self.with(|state| state.shut = true);
    }

    pub(super) fn open(&self) {
        let waiting = self.with(|state| {
            state.shut = false;
            std::mem::take(&mut state.waiting)
        });
        waiting.into_iter().for_each(Waker::wake);
    }

    fn poll_open(&self, context: &Context<'_>) -> Poll<()> {
        self.with(|state| {
            if state.shut {
                state.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A connection behind a gate.
#[derive(Debug)]
pub(super) struct Gated<S> {
    stream: S,
    gate: Gate,
}

impl<S> Gated<S> {
    pub(super) fn new(stream: S, gate: Gate) -> Self {
        Self { stream, gate }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll_open(context));
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.gate.poll_open(context));
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll_open(context));
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll_open(context));
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_closed_gate_stops_traffic_and_an_open_one_delivers_it() {
        let gate = Gate::default();
        let (inner, mut far) = tokio::io::duplex(64);
        let mut near = Gated::new(inner, gate.clone());
        let soon = Duration::from_millis(30);
        let mut byte = [0];

        near.write_all(b"a").await.unwrap();
        far.read_exact(&mut byte).await.unwrap();
        gate.shut();
        far.write_all(b"b").await.unwrap();
        assert!(
            timeout(soon, near.read_exact(&mut byte)).await.is_err(),
            "nothing is read"
        );
        assert!(
            timeout(soon, near.write_all(b"c")).await.is_err(),
            "nothing is written"
        );
        let opening = async {
            tokio::time::sleep(soon).await;
            gate.open();
        };
        let (read, ()) = tokio::join!(near.read_exact(&mut byte), opening);
        read.unwrap();
        assert_eq!(&byte, b"b", "data sent while closed arrives");
        drop(near);
        assert_eq!(
            far.read(&mut byte).await.unwrap(),
            0,
            "the cancelled write is not delivered"
        );
    }
}
