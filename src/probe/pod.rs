//! The web server of a pod: one line about itself for every GET, or with `?size=N` that line over and over, N bytes of it.
//!
//! A lab has hundreds of these in one process, so each is a listener and one task; a connection is a task of its own only while
//! it lasts. Whoever connects may be slow or hostile: heads are bounded in size and time, connections in number.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::close;
use crate::fabric::netns::Netns;
use crate::fabric::socket;

/// What a pod says of itself; prints as the line that it serves, without the line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPage {
    /// The pod's name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
}

impl fmt::Display for PodPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PodName: {} | PodIP: eth0 {}/32", self.name, self.address)
    }
}

/// A running server. Dropping it ends the server and its connections.
#[derive(Debug)]
pub struct PodServer {
    task: JoinHandle<()>,
}

impl Drop for PodServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `page` and a line end as plain text on port 80 of every address of `netns`; a query `size=N` asks for exactly N bytes,
/// at most 1 MiB, of that line repeated. It listens when this returns. Must be called within a tokio runtime.
///
/// # Errors
/// The kernel's, from listening: the port is taken.
pub fn serve_pod(netns: &Netns, page: &PodPage) -> io::Result<PodServer> {
    let listener = socket::tcp_listen(netns, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)))?;
    let body = Bytes::from(format!("{page}\n"));
    Ok(PodServer { task: tokio::spawn(accept(listener, body)) })
}

/// Connections that one pod serves at a time; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 64;
/// The longest head of a request in bytes.
const HEAD_LIMIT: usize = 16 << 10;
/// The time for the head of a request to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for a whole connection, its slow end included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest body that can be asked for, in bytes: what `http_get` reads.
const MAX_BODY: usize = 1 << 20;
/// The pause after a failure to accept, which is a lack of descriptors or memory and does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

async fn accept(listener: TcpListener, body: Bytes) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, body.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "accept a connection to a pod");
                    #[expect(clippy::disallowed_methods, reason = "a retry interval")]
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, body: Bytes) {
    close::reset_if_dropped(&stream);
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().query(), body.clone());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .without_shutdown();
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(served)) => close::close(served.io.into_inner()).await,
        // A client that breaks off or does not speak HTTP is that client's business.
        Ok(Err(error)) => tracing::debug!(%error, "a connection to a pod ended early"),
        Err(_) => {}
    }
}

fn respond(method: &Method, query: Option<&str>, line: Bytes) -> Response<Full<Bytes>> {
    // For HEAD hyper leaves the body out and keeps its length.
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, Bytes::new());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let size = query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("size="));
    match size.map(|size| size.parse().ok().filter(|size| *size <= MAX_BODY)) {
        None => text(StatusCode::OK, line),
        Some(Some(size)) => text(StatusCode::OK, line.iter().copied().cycle().take(size).collect()),
        Some(None) => {
            text(StatusCode::BAD_REQUEST, Bytes::from(format!("size is a whole number from 0 to {MAX_BODY}\n")))
        }
    }
}

fn text(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_that_of_the_golden_cluster() {
        let page = PodPage { name: "wluo-4x7jf".into(), address: Ipv4Addr::new(10, 244, 73, 64) };
        assert_eq!(page.to_string(), "PodName: wluo-4x7jf | PodIP: eth0 10.244.73.64/32");
    }

    #[test]
    fn only_get_and_head_are_answered() {
        let status = |method: Method| respond(&method, None, Bytes::new()).status().as_u16();
        assert_eq!((status(Method::GET), status(Method::HEAD), status(Method::POST)), (200, 200, 405));
    }

    #[tokio::test]
    async fn a_size_that_is_asked_for_is_the_line_over_and_over() {
        use http_body_util::BodyExt as _;
        for (query, status, expected) in [
            (None, 200, "PodName: p\n"),
            (Some("thing&sizes=3"), 200, "PodName: p\n"),
            (Some("size=0"), 200, ""),
            (Some("size=4"), 200, "PodN"),
            (Some("a=b&size=15"), 200, "PodName: p\nPodN"),
            (Some("size=1048577"), 400, "size is a whole number from 0 to 1048576\n"),
            (Some("size=-1"), 400, "size is a whole number from 0 to 1048576\n"),
        ] {
            let response = respond(&Method::GET, query, Bytes::from("PodName: p\n"));
            assert_eq!(response.status().as_u16(), status, "{query:?}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, expected, "{query:?}");
        }
    }
}
