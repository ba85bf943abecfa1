//! What the end of a worker process means for the call that it was performing. It does not know how the end was
//! observed.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::protocol::FailureKind;

/// Exit status of a worker that could not be sealed; it told why in a `Refused` frame and on stderr.
pub const REFUSED: i32 = 71;
/// Exit status of a worker whose parent does not speak the protocol.
pub const BAD_PARENT: i32 = 70;

/// Why the call failed whose worker ended without replying. `killed_for_timeout` says that the parent itself killed
/// it when the time was over.
pub fn classify_exit(status: ExitStatus, killed_for_timeout: bool) -> (FailureKind, String) {
    if killed_for_timeout {
        return (FailureKind::Timeout, "out of time; the sandbox was ended".to_owned());
    }
    let Some(signal) = status.signal() else {
        let code = status.code().unwrap_or_default();
        return (FailureKind::Logic, format!("the sandbox ended with status {code} during the call"));
    };
    match signal {
        libc::SIGSYS => {
            let message = "the sandbox made a system call that only a break-out attempt makes, and was killed";
            (FailureKind::Permission, message.to_owned())
        }
        libc::SIGKILL => (FailureKind::Oom, "the sandbox was killed by the system, likely out of memory".to_owned()),
        libc::SIGXCPU => (FailureKind::Timeout, "the sandbox used up its processor time".to_owned()),
        libc::SIGABRT | libc::SIGSEGV | libc::SIGBUS => {
            // A worker that cannot get memory outside the interpreter's heap aborts, and so does one whose native
            // stack is exhausted by deeply nested source text; both look alike from here.
            let message = format!("the sandbox crashed (signal {signal}); the code may be nested too deeply");
            (FailureKind::Logic, message)
        }
        other => (FailureKind::Logic, format!("the sandbox was ended by signal {other}")),
    }
}
