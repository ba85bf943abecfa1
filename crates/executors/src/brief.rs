//! Short calls of programs that are asked something, such as their version. It does not know what is asked; it knows
//! that a program may hang.

use std::io::{Error, ErrorKind, Read, Result};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Of each stream at most so much is read.
const READ_BYTES: u64 = 4096;
/// How often it is looked whether the program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Runs a program without input; one that takes longer is killed, which is the error [`ErrorKind::TimedOut`]. Of each
/// stream the beginning is kept.
pub fn call(command: &mut Command, patience: Duration) -> Result<Output> {
    call_for(command, patience, READ_BYTES)
}

/// The same with at most so many bytes of each stream; they must fit into a pipe.
pub fn call_for(command: &mut Command, patience: Duration, bytes: u64) -> Result<Output> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let deadline = Instant::now() + patience;
    // The pipes are only read once the program is over, so one that says more than a pipe holds is not brief.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            waited => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(waited.err().unwrap_or_else(|| Error::new(ErrorKind::TimedOut, "it does not answer")));
            }
        }
    };
    let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
    if let Some(out) = child.stdout.take() {
        output.stdout = beginning(out, bytes)?;
    }
    if let Some(err) = child.stderr.take() {
        output.stderr = beginning(err, bytes)?;
    }
    Ok(output)
}

/// What is there already; a grandchild that holds the pipe open cannot make anybody wait.
fn beginning(stream: impl Read + std::os::fd::AsFd, bytes: u64) -> Result<Vec<u8>> {
    rustix::io::ioctl_fionbio(&stream, true)?;
    let mut text = Vec::new();
    match stream.take(bytes).read_to_end(&mut text) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, patience: Duration) -> Result<Output> {
        call(Command::new("sh").args(["-c", script]), patience)
    }

    #[test]
    fn what_a_program_says_comes_back_and_nobody_is_waited_for() {
        let said = sh("echo out; echo err >&2; sleep 3 & exit 3", Duration::from_secs(60)).unwrap();
        assert_eq!((said.status.code(), &*said.stdout, &*said.stderr), (Some(3), &b"out\n"[..], &b"err\n"[..]));
        let hangs = sh("exec sleep 600", Duration::from_millis(50));
        assert_eq!(hangs.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
