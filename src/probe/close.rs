//! The end of a TCP connection, with nothing of it left in either kernel.
//!
//! A socket that is closed while the other end has not yet agreed is kept by the kernel, and with it its namespace, for
//! minutes where the way is gone in the meantime: a lab that goes down right after its last page would wait for it.

use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Should the connection end early, with its process or its task, it is reset and forgotten.
pub(super) fn reset_if_dropped(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Ends the connection in order: our end, the other's, and the consent to both. What takes longer than [`PATIENCE`] is reset.
pub(super) async fn close(stream: TcpStream) {
    // Not connected any more is as good.
    let _ = SockRef::from(&stream).shutdown(Shutdown::Write);
    if timeout(PATIENCE, end_of(&stream)).await.is_err() {
        return;
    }
    let Ok(stream) = stream.into_std() else { return };
    // Closing now waits for the consent to our end; the thread is blocked for as long.
    let _ = SockRef::from(&stream).set_linger(Some(PATIENCE));
    let _ = tokio::task::spawn_blocking(move || drop(stream)).await;
}

const PATIENCE: Duration = Duration::from_secs(1);

/// Returns when the other end has said that nothing more comes, or the connection is broken.
async fn end_of(stream: &TcpStream) {
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut [0; 4096]) {
            Ok(0) => break,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
            _ => {}
        }
    }
}
