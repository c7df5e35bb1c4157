//! Asking a daemon: BIRD's control socket, the socket of FRR's bgpd, `gobgp`, ExaBGP's pipes.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::external::{bird, exabgp};

/// How long an answer may take. Daemons answer in milliseconds, but one that starts does not, nor does one on a busy host.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// When to try again to open a pipe that nobody reads.
const OPEN_AGAIN: Duration = Duration::from_millis(5);

/// Runs a command over BIRD's control socket in `folder` and returns what `birdc` would print.
///
/// # Errors
/// Nobody listens, or BIRD refuses; then its words are the error's.
pub async fn birdc(folder: &Path, command: &str) -> io::Result<String> {
    within(async {
        let mut stream = BufReader::new(UnixStream::connect(folder.join("bird.ctl")).await?);
        let (_, _) = bird_reply(&mut stream).await?;
        stream.get_mut().write_all(format!("{command}\n").as_bytes()).await?;
        let (text, error) = bird_reply(&mut stream).await?;
        match error {
            true => Err(io::Error::other(text.trim_end().to_owned())),
            false => Ok(text),
        }
    })
    .await
}

/// The lines of one reply, and whether it is a refusal.
async fn bird_reply(stream: &mut BufReader<UnixStream>) -> io::Result<(String, bool)> {
    let mut text = String::new();
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (code, more, words) = bird::reply_line(line.trim_end_matches('\n'));
        // 0000 ends a reply that has lines, and has none itself.
        if code != Some(0) {
            text.push_str(words);
            text.push('\n');
        }
        if let (Some(code), false) = (code, more) {
            return Ok((text, bird::is_error(code)));
        }
    }
}

/// Runs commands one after the other over the socket of FRR's bgpd in `folder`; the last one's answer.
///
/// # Errors
/// Nobody listens, or a command is refused.
pub(super) async fn vtysh(folder: &Path, commands: &[impl AsRef<str>]) -> io::Result<String> {
    within(async {
        let mut stream = UnixStream::connect(folder.join("bgpd.vty")).await?;
        let mut answer = String::new();
        for command in commands.iter().map(AsRef::as_ref) {
            stream.write_all(command.as_bytes()).await?;
            stream.write_all(&[0]).await?;
            let (text, status) = vty_reply(&mut stream).await?;
            // CMD_SUCCESS, and CMD_WARNING of what holds already.
            if status > 1 {
                return Err(io::Error::other(format!("`{command}`: {}", text.trim())));
            }
            answer = text;
        }
        Ok(answer)
    })
    .await
}

/// A reply ends with three zeros and the status.
async fn vty_reply(stream: &mut UnixStream) -> io::Result<(String, u8)> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let [text @ .., 0, 0, 0, status] = bytes.as_slice() {
            return Ok((String::from_utf8_lossy(text).into_owned(), *status));
        }
    }
}

/// Runs `gobgp` with `words`.
///
/// # Errors
/// The daemon does not answer, or refuses.
pub(super) async fn gobgp(program: &Path, folder: &Path, words: &[impl AsRef<str>]) -> io::Result<String> {
    within(async {
        let target = format!("unix://{}", folder.join("gobgpd.sock").display());
        let mut gobgp = tokio::process::Command::new(program);
        gobgp.args(["--target", &target]).args(words.iter().map(AsRef::as_ref));
        let output = gobgp.stdin(Stdio::null()).kill_on_drop(true).output().await?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                let said = [output.stdout, output.stderr].concat();
                Err(io::Error::other(String::from_utf8_lossy(&said).trim().to_owned()))
            }
        }
    })
    .await
}

/// Writes `command` to ExaBGP's pipes in `folder` and reads the answer, which must be nobody else's.
///
/// # Errors
/// ExaBGP has not opened them, or refuses.
pub(super) async fn exabgp(folder: &Path, command: &str) -> io::Result<String> {
    within(async {
        // Open for writing as well: ExaBGP opens its end for each answer, and a pipe without a writer is at its end.
        let receiver = pipe::OpenOptions::new().read_write(true).open_receiver(folder.join("exabgp.out"))?;
        // What is left of an answer that nobody waited for.
        let mut rest = [0; 4096];
        while receiver.try_read(&mut rest).is_ok_and(|length| length > 0) {}
        let mut again = tokio::time::interval(OPEN_AGAIN);
        let mut sender = loop {
            again.tick().await;
            match pipe::OpenOptions::new().open_sender(folder.join("exabgp.in")) {
                // It opens that one again after each command.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENXIO) => {}
                opened => break opened?,
            }
        };
        sender.write_all(format!("{command}\n").as_bytes()).await?;
        let mut lines = BufReader::new(receiver).lines();
        let mut answer = String::new();
        while let Some(line) = lines.next_line().await? {
            match exabgp::LAST_LINES.iter().position(|last| *last == line) {
                Some(0) => return Ok(answer),
                Some(_) => return Err(io::Error::other(answer)),
                None => answer += &(line + "\n"),
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    })
    .await
}

async fn within<T>(asking: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, asking).await?
}
