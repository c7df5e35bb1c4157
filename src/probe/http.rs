//! One HTTP GET from inside a namespace.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::close;
use crate::fabric::netns::Netns;
use crate::fabric::socket;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// Names in lower case and values, in the order received; a value's bytes beyond ASCII are replaced.
    pub headers: Vec<(String, String)>,
    /// The body, at most 1 MiB.
    pub body: Bytes,
    /// The address the request came from.
    pub local: SocketAddr,
    /// The address it went to.
    pub remote: SocketAddr,
}

impl HttpReply {
    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why no reply came back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Nobody listens there (RST).
    #[error("connect to {remote}: connection refused")]
    Refused {
        /// The address.
        remote: SocketAddr,
    },
    /// The time was up.
    #[error("{doing} {remote}: no answer within {after:?}")]
    TimedOut {
        /// What was going on: `connect to`, `get from`.
        doing: &'static str,
        /// The address.
        remote: SocketAddr,
        /// The time there was.
        after: Duration,
    },
    /// The network does not lead there: no route, a blackhole, an ICMP error.
    #[error("connect to {remote}: unreachable")]
    Unreachable {
        /// The address.
        remote: SocketAddr,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// Any other failure to connect.
    #[error("connect to {remote}")]
    Connect {
        /// The address.
        remote: SocketAddr,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The path or the host cannot stand in a request.
    #[error("ask for {path}")]
    Request {
        /// The path as given.
        path: String,
        /// What is wrong with it.
        #[source]
        source: hyper::http::Error,
    },
    /// The connection broke, or what came over it is not HTTP.
    #[error("get from {remote}")]
    Exchange {
        /// The address.
        remote: SocketAddr,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The body is longer than 1 MiB.
    #[error("get from {remote}: the body is longer than {BODY_LIMIT} bytes")]
    BodyTooLong {
        /// The address.
        remote: SocketAddr,
    },
}

/// Asks `remote` for `path` (`/`, with its query) over HTTP/1.1, from inside `netns`, within `timeout`; the Host header is `host`
/// or else the address. Redirects are not followed.
///
/// # Errors
/// See [`HttpError`]; a status other than 200 is none.
pub async fn http_get(
    netns: &Netns,
    remote: SocketAddr,
    host: Option<&str>,
    path: &str,
    timeout: Duration,
) -> Result<HttpReply, HttpError> {
    let authority = match (host, remote.port()) {
        (Some(host), _) => host.to_owned(),
        (None, 80) => match remote {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        },
        (None, _) => remote.to_string(),
    };
    let request = Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, concat!("lab/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|source| HttpError::Request { path: path.into(), source })?;
    let deadline = Instant::now() + timeout;
    let late = |doing| HttpError::TimedOut { doing, remote, after: timeout };
    let stream = match timeout_at(deadline, socket::tcp_connect(netns, None, remote, None)).await {
        Err(_) => return Err(late("connect to")),
        Ok(connected) => connected.map_err(|source| connect_error(remote, source, timeout))?,
    };
    let exchanged = timeout_at(deadline, exchange(stream, request, remote)).await;
    let (reply, stream) = exchanged.unwrap_or_else(|_| Err(late("get from")))?;
    if let Some(stream) = stream {
        close::close(stream).await;
    }
    Ok(reply)
}

/// The longest body that is read.
const BODY_LIMIT: usize = 1 << 20;

fn connect_error(remote: SocketAddr, source: io::Error, after: Duration) -> HttpError {
    use nix::libc::{EACCES, EINVAL};
    match source.kind() {
        io::ErrorKind::ConnectionRefused => HttpError::Refused { remote },
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => HttpError::Unreachable { remote, source },
        io::ErrorKind::TimedOut => HttpError::TimedOut { doing: "connect to", remote, after },
        // What the kernel says of a blackhole and of a prohibit route.
        _ if matches!(source.raw_os_error(), Some(EINVAL | EACCES)) => HttpError::Unreachable { remote, source },
        _ => HttpError::Connect { remote, source },
    }
}

/// The reply, and the connection where there is still one.
async fn exchange(
    stream: TcpStream,
    request: Request<Empty<Bytes>>,
    remote: SocketAddr,
) -> Result<(HttpReply, Option<TcpStream>), HttpError> {
    close::reset_if_dropped(&stream);
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| HttpError::Exchange { remote, source };
    let local = stream.local_addr().map_err(|error| broken(error.into()))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
    let reply = async move {
        let response = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
        let (head, body) = Response::into_parts(response);
        let body =
            Limited::new(body, BODY_LIMIT).collect().await.map_err(|error| match error.is::<LengthLimitError>() {
                true => HttpError::BodyTooLong { remote },
                false => broken(error),
            })?;
        let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok(HttpReply { status: head.status.as_u16(), headers, body: body.to_bytes(), local, remote })
    };
    let connection = connection.without_shutdown();
    tokio::pin!(reply, connection);
    // The connection makes the reply progress. It may end first, with the reply complete in its buffers.
    let (reply, ended) = tokio::select! {
        biased;
        reply = &mut reply => (reply?, None),
        ended = &mut connection => (reply.await?, Some(ended)),
    };
    // Nothing more is asked for: a connection that is still there ends now.
    let ended = match ended {
        Some(ended) => ended,
        None => connection.await,
    };
    Ok((reply, ended.ok().map(|parts| parts.io.into_inner())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_to_connect_are_told_apart() {
        let remote: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let text =
            |errno| connect_error(remote, io::Error::from_raw_os_error(errno), Duration::from_secs(1)).to_string();
        assert_eq!(text(nix::libc::ECONNREFUSED), "connect to 10.0.0.1:80: connection refused");
        assert_eq!(text(nix::libc::EHOSTUNREACH), "connect to 10.0.0.1:80: unreachable");
        assert_eq!(text(nix::libc::ENETUNREACH), "connect to 10.0.0.1:80: unreachable");
        assert_eq!(text(nix::libc::EINVAL), "connect to 10.0.0.1:80: unreachable");
        assert_eq!(text(nix::libc::ETIMEDOUT), "connect to 10.0.0.1:80: no answer within 1s");
        assert_eq!(text(nix::libc::EADDRNOTAVAIL), "connect to 10.0.0.1:80");
    }
}
