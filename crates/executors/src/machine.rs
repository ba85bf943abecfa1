//! What this process asks of its system for itself: descriptors, limits, signals, how pressed the machine is. It does
//! not know attempts.

use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use raddle_engine::admission::Pressure;
use raddle_engine::attempt::{ControlRequest, Report, StopKind};

/// Descriptors that whoever started us left open are not for our children.
pub(crate) fn seal_descriptors() {
    // SAFETY: sets a flag on descriptors; those of this program have it already.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
}

/// Raises the soft limit of open files to the hard one and returns what it was.
pub(crate) fn raise_open_files() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain calls with a valid struct.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 || limit.rlim_cur == limit.rlim_max {
            return None;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        (libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0).then_some(limit)
    }
}

/// Free memory, and the larger of the shares of time in which something waited for memory or for a processor.
pub(crate) fn pressure() -> Option<Pressure> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok();
    let available_bytes = memory.and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    });
    let stalled = ["memory", "cpu"].iter().filter_map(|what| {
        let text = std::fs::read_to_string(format!("/proc/pressure/{what}")).ok()?;
        let some = text.lines().find_map(|line| line.strip_prefix("some avg10="))?;
        Some(some.split(' ').next()?.parse::<f32>().ok()? / 100.0)
    });
    let stalled = stalled.reduce(f32::max);
    if available_bytes.is_none() && stalled.is_none() {
        return None;
    }
    Some(Pressure { available_bytes, stalled: stalled.unwrap_or(0.0) })
}

/// Signals that ask a process to end.
pub(crate) const ASK_TO_END: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Whether whoever started this process wanted it to be deaf to that signal (`nohup`, a shell's `&`). A signal that is
/// blocked in order to be read would be heard all the same.
pub(crate) fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: asks only; the struct is plain data.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Signals that ask this process to end, as something to read.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks them on this thread, and takes them from now on.
    pub(crate) fn take() -> std::io::Result<Self> {
        // SAFETY: plain calls with valid structs; the descriptor is fresh and ours.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in ASK_TO_END.into_iter().filter(|signal| !is_ignored(*signal)) {
                libc::sigaddset(&mut set, signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(Signals { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Reports what has come.
    pub(crate) fn read(&mut self, reports: &mut Vec<Report>) {
        const INFO: usize = size_of::<libc::signalfd_siginfo>();
        let mut info = [0; INFO];
        while let Ok(INFO) = rustix::io::read(&self.fd, &mut info) {
            // The number is the first field.
            let signal = u32::from_ne_bytes(info[..4].try_into().expect("four bytes are four bytes"));
            let kind = if signal == libc::SIGINT as u32 { StopKind::Interrupt } else { StopKind::Terminate };
            reports.push(Report::Control(ControlRequest::Stop(kind)));
        }
    }
}
