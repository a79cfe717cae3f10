//! The HTTP client of lists and watches. It reads from the socket in large pieces.
//!
//! Input: the configuration of the API server. Output: a [`Client`]. rustls requests 4 kB from the socket at a time, and
//! the API server writes a watch in TLS records of 4 kB. kube's own client therefore needs more than one system call for
//! each Pod. This client has a buffer between the socket and rustls. It uses HTTP/1.1, as kube's client does.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
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
};
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tracing::trace;

/// Size of the buffer between the socket and TLS, in bytes.
const READ_BUFFER: usize = 64 << 10;

/// Creates a client for lists and watches. It applies the timeouts of the configuration, and does not retry.
pub(super) fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        // kube supports proxies, or reports that it does not.
        return ClientBuilder::try_from(config).map(ClientBuilder::build);
    }
    let mut tcp = HttpConnector::new();
    // TLS is a layer above.
    tcp.enforce_http(false);
    let tcp = ServiceExt::<Uri>::map_response(tcp, BufferedTcp::new);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http = legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
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

/// A TCP connection with a read buffer.
struct BufferedTcp(BufReader<TcpStream>);

impl BufferedTcp {
    fn new(stream: TokioIo<TcpStream>) -> TokioIo<Self> {
        TokioIo::new(Self(BufReader::with_capacity(READ_BUFFER, stream.into_inner())))
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(self.get_mut().0.get_mut())
    }
}

impl Connection for BufferedTcp {
    fn connected(&self) -> Connected {
        self.0.get_ref().connected()
    }
}

impl AsyncRead for BufferedTcp {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for BufferedTcp {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.get_ref().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn one_read_of_the_socket_serves_many_small_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let sent: Vec<u8> = (0..32 << 10).map(|n: u32| n.to_le_bytes()[0]).collect();
        server.write_all(&sent).await.unwrap();
        let mut arrived = vec![0; sent.len()];
        while client.peek(&mut arrived).await.unwrap() < sent.len() {}

        let mut stream = BufferedTcp::new(TokioIo::new(client)).into_inner();
        let mut received = vec![0; 4 << 10];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(
            stream.0.buffer().len(),
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
}
