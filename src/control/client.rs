//! Asks a lab's daemon.

use std::io;
use std::path::PathBuf;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::protocol::{DoRequest, LabStatus, Outcome, Refusal, WaitRequest};
use super::state::StateDir;
use crate::bgp::view::{PathView, SpeakerView};
use crate::net::LabName;

/// The daemon of one lab. Each request is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    lab: LabName,
    socket: PathBuf,
}

/// A request that got no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: the daemon is dead, or the lab does not exist.
    #[error("ask the daemon of lab `{lab}` on {}", socket.display())]
    Connect {
        /// The lab.
        lab: LabName,
        /// Its socket.
        socket: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The conversation broke off: the daemon died under it.
    #[error("the daemon of lab `{lab}` broke off: {reason}")]
    Broken {
        /// The lab.
        lab: LabName,
        /// The reason.
        reason: String,
    },
    /// The daemon understood, and will not.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// A client for the lab of `state`; nothing is sent yet.
    pub fn new(state: &StateDir) -> Self {
        Self { lab: state.lab().clone(), socket: state.socket() }
    }

    /// The lab at a glance.
    ///
    /// # Errors
    /// As [`ClientError`] says; so for every request.
    pub async fn status(&self) -> Result<LabStatus, ClientError> {
        self.get("/v1/status").await
    }

    /// Every speaker's sessions, in file order.
    pub async fn speakers(&self) -> Result<Vec<SpeakerView>, ClientError> {
        self.get("/v1/speakers").await
    }

    /// One speaker's sessions.
    pub async fn speaker(&self, node: &str) -> Result<SpeakerView, ClientError> {
        self.get(&format!("/v1/speakers/{node}")).await
    }

    /// One speaker's table.
    pub async fn paths(&self, node: &str) -> Result<Vec<PathView>, ClientError> {
        self.get(&format!("/v1/speakers/{node}/paths")).await
    }

    /// What one speaker has told a peer: a node's or router's name, an address, or the session's name.
    pub async fn exported(&self, node: &str, peer: &str) -> Result<Vec<PathView>, ClientError> {
        self.get(&format!("/v1/speakers/{node}/exported/{peer}")).await
    }

    /// Waits until the lab has converged.
    pub async fn wait(&self, request: &WaitRequest) -> Result<Outcome, ClientError> {
        self.post("/v1/wait", request).await
    }

    /// Changes something and waits until the lab has converged again.
    pub async fn change(&self, request: &DoRequest) -> Result<Outcome, ClientError> {
        self.post("/v1/do", request).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.request(Method::GET, path, Vec::new()).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        self.request(Method::POST, path, body).await
    }

    async fn request<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<T, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| ClientError::Connect {
            lab: self.lab.clone(),
            socket: self.socket.clone(),
            source,
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        let conversation = async {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", "lab")
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body)))
                .map_err(|error| self.broken(error))?;
            let response = sender.send_request(request).await.map_err(|error| self.broken(error))?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| self.broken(error))?.to_bytes();
            match status.is_success() {
                true => serde_json::from_slice(&body).map_err(|error| self.broken(error)),
                false => match serde_json::from_slice::<Refusal>(&body) {
                    Ok(refusal) => Err(ClientError::Refused(refusal.error)),
                    Err(_) => Err(self.broken(format!("HTTP status {status}"))),
                },
            }
        };
        tokio::pin!(conversation);
        tokio::select! {
            result = &mut conversation => result,
            // The connection's task ends when the exchange is over, or when it broke: either way the conversation knows.
            _ = connection => conversation.await,
        }
    }

    fn broken(&self, reason: impl ToString) -> ClientError {
        ClientError::Broken { lab: self.lab.clone(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp_io::Order;
    use crate::control::protocol::Change;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    /// Answers one request with `response`, as it is; returns the answer's reading and the request.
    async fn ask<T>(
        response: &str,
        ask: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> (Result<T, ClientError>, String) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let client = Client { lab: LabName::new("demo").unwrap(), socket };
        let daemon = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") && !request.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the whole request comes");
            }
            stream.write_all(response.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        };
        tokio::join!(ask(&client), daemon)
    }

    fn response(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_change_is_posted_and_its_outcome_read() {
        let change = Change::Peer { node: "node1".into(), with: "node2".into(), order: Order::Disable };
        let request = DoRequest { change, timeout_ms: 1000 };
        let answer = response("200 OK", r#"{"converged":true,"missing":[],"elapsed_us":7}"#);
        let (outcome, sent) = ask(&answer, async |client| client.change(&request).await).await;
        assert_eq!(outcome.unwrap(), Outcome { converged: true, missing: vec![], elapsed_us: 7 });
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v1/do HTTP/1.1"), "{head}");
        assert_eq!(body, r#"{"change":{"peer":{"node":"node1","with":"node2","order":"disable"}},"timeout_ms":1000}"#);
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_daemons_words() {
        let answer = response("422 Unprocessable Entity", r#"{"error":"there is no node `x`"}"#);
        let (refused, _) = ask(&answer, async |client| client.speaker("x").await).await;
        assert!(matches!(refused, Err(ClientError::Refused(words)) if words == "there is no node `x`"));
    }

    #[tokio::test]
    async fn a_daemon_that_dies_under_the_request_or_talks_nonsense_is_broken() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
            &response("200 OK", "{}"),
            &response("404 Not Found", ""),
        ] {
            let (broken, _) = ask(answer, async |client| client.status().await).await;
            let text = broken.unwrap_err().to_string();
            assert!(text.starts_with("the daemon of lab `demo` broke off: "), "{text}");
        }
    }

    #[tokio::test]
    async fn without_a_daemon_the_socket_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let client = Client { lab: LabName::new("demo").unwrap(), socket: socket.clone() };
        let error = client.status().await.unwrap_err();
        assert_eq!(error.to_string(), format!("ask the daemon of lab `demo` on {}", socket.display()));
    }
}
