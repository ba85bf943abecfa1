//! A sealed process that tries one forbidden thing, to show that the kernel holds it: exit status 0 when it worked, 1
//! when it was denied, death by SIGSYS when it was caught. The tests run it.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;

fn main() {
    let attempt = std::env::args().nth(1).unwrap_or_default();
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if raddle_sandbox::worker::seal::seal(64 << 20).is_err() {
        std::process::exit(2);
    }
    let denied = match attempt.as_str() {
        "nothing" => Ok(()),
        "open" => std::fs::read("/etc/hostname").map(drop),
        "create" => std::fs::write("/tmp/raddle-probe", "x"),
        "unlink" => std::fs::remove_file("/tmp/raddle-probe"),
        "chdir" => std::env::set_current_dir("/"),
        "duplicate" => io::stdin().as_fd().try_clone_to_owned().map(drop),
        "socket" => std::net::TcpStream::connect("127.0.0.1:1").map(drop),
        "execute" => Err(exec()),
        "fork" => native(|| unsafe { libc::fork() }.into()),
        "signal-parent" => native(|| unsafe { libc::kill(parent, 0) }.into()),
        "trace-parent" => native(|| unsafe { libc::ptrace(libc::PTRACE_ATTACH, parent, 0, 0) }),
        "raise-limit" => native(|| {
            let limit = libc::rlimit { rlim_cur: 100, rlim_max: 100 };
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }.into()
        }),
        "io-uring" => native(|| unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, 0) }),
        "executable-memory" => native(|| {
            let (access, kind) = (libc::PROT_WRITE | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 4096, access, kind, -1, 0) };
            if mapped == libc::MAP_FAILED { -1 } else { 0 }
        }),
        // The 32-bit calling convention has other call numbers, which a careless filter would mistake.
        "foreign-abi" => native(foreign_abi),
        _ => std::process::exit(2),
    };
    std::process::exit(denied.is_err().into());
}

fn exec() -> io::Error {
    std::process::Command::new("/bin/true").exec()
}

fn native(call: impl FnOnce() -> libc::c_long) -> io::Result<()> {
    if call() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(target_arch = "x86_64")]
fn foreign_abi() -> libc::c_long {
    let mut result: libc::c_long = 20;
    // SAFETY: call 20 of the 32-bit table is `getpid`, which touches nothing; the registers it clobbers are named.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_abi() -> libc::c_long {
    // SAFETY: raising a signal for itself; there is no second convention to try here.
    unsafe { libc::raise(libc::SIGSYS).into() }
}
