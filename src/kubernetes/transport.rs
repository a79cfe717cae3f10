//! The HTTP client of lists and watches. It reads from the socket in large pieces.
//!
//! Input: the configuration of the API server. Output: a [`Client`]. rustls requests 4 kB from the socket at a time, and
//! the API server writes a watch in TLS records of 4 kB. kube's own client therefore needs more than one system call for
//! each Pod. This client has a buffer between the socket and rustls. It uses HTTP/1.1, as kube's client does.
//!
//! The read timeout has a timer that is set again only when it fires. A timer that is set at each read, as that of
//! hyper-timeout, wakes the runtime twice more for each watch event.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Uri};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo},
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tracing::trace;

use super::panics::PanicsToCallerLayer;

/// Size of the buffer between the socket and TLS, in bytes.
const READ_BUFFER: usize = 64 << 10;

/// Creates a client for lists and watches. It applies the timeouts of the configuration, and does not retry.
pub(super) fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        // kube supports proxies, or reports that it does not.
        return default_client(config);
    }
    let mut tcp = HttpConnector::new();
    // TLS is a layer above.
    tcp.enforce_http(false);
    let read_timeout = config.read_timeout;
    let tcp = ServiceExt::<Uri>::map_response(tcp, move |stream| BufferedTcp::new(stream, read_timeout));
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http = legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(PanicsToCallerLayer)
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_request(|request: Request<Body>| {
            trace!(method = %request.method(), uri = %request.uri(), "request");
            request
        })
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

/// Creates a client with the HTTP client of kube.
pub(super) fn default_client(config: Config) -> kube::Result<Client> {
    let builder = ClientBuilder::try_from(config)?;
    Ok(builder.with_layer(&PanicsToCallerLayer).build())
}

/// A TCP connection with a read buffer and a read timeout.
struct BufferedTcp {
    tcp: BufReader<TcpStream>,
    read_timeout: Option<ReadTimeout>,
}

impl BufferedTcp {
    fn new(stream: TokioIo<TcpStream>, read_timeout: Option<Duration>) -> TokioIo<Self> {
        TokioIo::new(Self {
            tcp: BufReader::with_capacity(READ_BUFFER, stream.into_inner()),
            read_timeout: read_timeout.map(ReadTimeout::new),
        })
    }

    /// Returns the socket for a write.
    fn writer(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(self.get_mut().tcp.get_mut())
    }

    /// Records a write of some bytes. Otherwise the idle time of a pooled connection would count towards the timeout of its
    /// next response. A flush does not count: hyper flushes whenever it runs, also when the timer fires.
    fn record_write(self: Pin<&mut Self>, written: &Poll<io::Result<usize>>) {
        if let Some(timeout) = &mut self.get_mut().read_timeout
            && matches!(written, Poll::Ready(Ok(1..)))
        {
            timeout.record_activity();
        }
    }
}

/// The time since the last read or write, and its limit while a read waits.
struct ReadTimeout {
    limit: Duration,
    last_activity: Instant,
    timer: Pin<Box<Sleep>>,
}

impl ReadTimeout {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            last_activity: Instant::now(),
            timer: Box::pin(sleep(limit)),
        }
    }

    fn record_activity(&mut self) {
        self.last_activity = Instant::now();
    }

    /// Is ready when the limit has passed since the last activity.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let deadline = self.last_activity + self.limit;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

impl Connection for BufferedTcp {
    fn connected(&self) -> Connected {
        self.tcp.get_ref().connected()
    }
}

impl AsyncRead for BufferedTcp {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.tcp).poll_read(context, buffer);
        if let Some(timeout) = &mut this.read_timeout {
            if result.is_ready() {
                timeout.record_activity();
            } else {
                ready!(timeout.poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        result
    }
}

impl AsyncWrite for BufferedTcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().writer().poll_write(context, bytes);
        self.record_write(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.as_mut().writer().poll_write_vectored(context, pieces);
        self.record_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.get_ref().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Returns a connection with this read timeout, and its peer.
    async fn connection(read_timeout: Option<Duration>) -> (BufferedTcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (
            BufferedTcp::new(TokioIo::new(client), read_timeout).into_inner(),
            server,
        )
    }

    const MINUTE: Option<Duration> = Some(Duration::from_mins(1));

    #[tokio::test]
    async fn one_read_of_the_socket_serves_many_small_reads() {
        let (mut stream, mut server) = connection(None).await;
        let sent: Vec<u8> = (0..32 << 10).map(|n: u32| n.to_le_bytes()[0]).collect();
        server.write_all(&sent).await.unwrap();
        let mut arrived = vec![0; sent.len()];
        while stream.tcp.get_ref().peek(&mut arrived).await.unwrap() < sent.len() {}

        let mut received = vec![0; 4 << 10];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(
            stream.tcp.buffer().len(),
            sent.len() - received.len(),
            "the rest is in the buffer"
        );
        let mut rest = vec![0; sent.len() - received.len()];
        stream.read_exact(&mut rest).await.unwrap();
        received.append(&mut rest);
        assert_eq!(received, sent);

        stream.write_all(b"request").await.unwrap();
        let mut request = [0; 7];
        server.read_exact(&mut request).await.unwrap();
        assert_eq!(&request, b"request", "writes are not buffered");
    }

    #[tokio::test]
    async fn a_read_fails_one_timeout_after_the_last_read_or_write() {
        let (mut stream, mut server) = connection(MINUTE).await;
        tokio::time::pause();
        let seconds = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        let mut byte = [0];

        seconds(50).await;
        server.write_all(b"1").await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        let begin = Instant::now();
        assert_eq!(
            stream.read(&mut byte).await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        assert_eq!(begin.elapsed().as_secs(), 60, "after a read");

        let (mut stream, _server) = connection(MINUTE).await;
        seconds(3600).await;
        stream.write_all(b"request").await.unwrap();
        let begin = Instant::now();
        assert_eq!(
            stream.read(&mut byte).await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        assert_eq!(
            begin.elapsed().as_secs(),
            60,
            "after a write on an idle connection"
        );
    }

    #[tokio::test]
    async fn a_flush_does_not_delay_the_timeout() {
        let (mut stream, _server) = connection(MINUTE).await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(5)).await;
        let begin = Instant::now();
        let mut byte = [0];
        // hyper reads and flushes whenever it runs.
        let read = std::future::poll_fn(|context| {
            let read = Pin::new(&mut stream).poll_read(context, &mut ReadBuf::new(&mut byte));
            let flushed = Pin::new(&mut stream).poll_flush(context);
            assert!(flushed.is_ready());
            read
        });
        let result = tokio::time::timeout(Duration::from_mins(10), read).await;
        assert_eq!(result.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() <= Duration::from_mins(1), "{:?}", begin.elapsed());
    }
}
