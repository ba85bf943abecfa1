//! A run held at each of its records: its events go into a socket that has no room, so that the engine waits between
//! what it has made durable and what it tells. One record's telling is let through at a time. It knows the socket and
//! nothing of the run.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, send, sockopt};
use serde_json::Value;

use super::place::{Live, PATIENCE};
use super::tally::{Found, Kind, Violation};

/// Room for the events of one turn of any reference workflow.
const ROOM: usize = 16 << 10;
/// How long to wait before looking whether the program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Steps {
    ours: UnixDatagram,
    /// The engine's end, kept so that it can be filled.
    theirs: UnixDatagram,
    filler: usize,
}

/// What came of a step.
#[derive(Debug)]
pub(crate) enum Step {
    /// These events were told in one piece; the engine waits before the next telling.
    Told(Vec<Value>),
    /// The program has ended.
    Ended,
}

impl Steps {
    pub(crate) fn new() -> Found<Steps> {
        let (ours, theirs) = UnixDatagram::pair().map_err(Violation::broken)?;
        sockopt::set_socket_send_buffer_size(&theirs, ROOM).map_err(Violation::broken)?;
        let room = sockopt::socket_send_buffer_size(&theirs).map_err(Violation::broken)?;
        ours.set_read_timeout(Some(LOOK_EVERY)).map_err(Violation::broken)?;
        // The largest message there may be: with its header it takes all the room, and whoever writes next waits.
        let steps = Steps { ours, theirs, filler: room - 64 };
        steps.fill();
        Ok(steps)
    }

    /// For the program's stdout.
    pub(crate) fn stdout(&self) -> Found<OwnedFd> {
        self.theirs.as_fd().try_clone_to_owned().map_err(Violation::broken)
    }

    fn fill(&self) {
        // Full already is as good.
        let _ = send(&self.theirs, &vec![b' '; self.filler], SendFlags::DONTWAIT);
    }

    /// Lets one telling through.
    pub(crate) fn next(&self, live: &mut Live) -> Found<Step> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = live.has_ended();
            match self.message()? {
                Some(events) if !events.is_empty() => {
                    self.fill();
                    return Ok(Step::Told(events));
                }
                Some(_) => {}
                None if ended => return Ok(Step::Ended),
                None if Instant::now() > deadline => {
                    return Err(Violation::new(Kind::Stuck, "a run tells nothing any more and does not end"));
                }
                None => {}
            }
        }
    }

    /// All that was told before the program ended, however much.
    pub(crate) fn rest(&self) -> Found<Vec<Value>> {
        let mut all = Vec::new();
        while let Some(events) = self.message()? {
            all.extend(events);
        }
        Ok(all)
    }

    /// One message; empty when it was one of ours, nothing when none came in time.
    fn message(&self) -> Found<Option<Vec<Value>>> {
        let mut bytes = vec![0; self.filler + 64];
        let length = loop {
            match self.ours.recv(&mut bytes) {
                // A signal that is not for us, as when a child ends.
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                heard => break heard,
            }
        };
        let length = match length {
            Ok(length) => length,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(e) => return Err(Violation::broken(e)),
        };
        let text = String::from_utf8_lossy(&bytes[..length]);
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let events =
            lines.map(|line| serde_json::from_str(line).map_err(|e| Violation::broken(format!("{e}: {line}"))));
        events.collect::<Found<Vec<Value>>>().map(Some)
    }
}
