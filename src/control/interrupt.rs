//! Ctrl-C, and what a CI system sends instead.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Interrupts of this process, SIGINT and SIGTERM, from the moment it listens: one that comes before anybody waits is not lost.
#[derive(Debug)]
pub struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    /// Listens; from now on neither signal ends the process by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Returns at the next one.
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
