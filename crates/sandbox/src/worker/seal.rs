//! What the kernel takes away from a worker before it reads its first byte, and whether this kernel can. It does not
//! know the language that runs inside; it assumes that whatever runs is hostile and in full control of the process.
//!
//! Two seccomp filters are stacked; the stricter answer wins. The first allows what the C library and the runtime need
//! to compute, read stdin and write stdout, and answers everything else with `EPERM`: harmless probing, such as the
//! look for `/etc/localtime`, then just fails. The second kills the process for what no library of ours ever tries and
//! every break-out must (executing, sockets, tracing, io_uring, BPF), so that the attempt is seen and not repeated.

use std::collections::BTreeMap;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Address space beyond the interpreter's heap, which is at most twice its budget: the binary, the stack, one request, one file, one result.
const ADDRESS_SLACK: u64 = 768 << 20;

/// What this machine can enforce; for `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// The kernel's Landlock version; `None` when there is none. Workers start without it.
    pub landlock: Option<u32>,
    /// Whether system calls can be filtered. Workers refuse to start without it.
    pub seccomp: bool,
    /// What is missing and what follows from it; `None` when nothing is missing.
    pub reason: Option<String>,
}

/// Finds out what this machine can enforce, without changing anything.
pub fn support() -> Support {
    // SAFETY: with these arguments the call only asks for the version.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1) };
    let landlock = u32::try_from(version).ok().filter(|v| *v > 0);
    const GET_ACTION_AVAIL: libc::c_uint = 2;
    let action = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the call only asks whether the action is known; the pointer is valid for its duration.
    let known = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) };
    let seccomp = known == 0;
    let reason = match (seccomp, landlock) {
        (false, _) => Some("the kernel cannot filter system calls (seccomp): code tasks cannot run"),
        (true, None) => Some("the kernel has no Landlock: workers are held by seccomp and limits alone"),
        (true, Some(_)) => None,
    };
    Support { landlock, seccomp, reason: reason.map(str::to_owned) }
}

/// Gives up everything but computing, stdin and stdout, for good; in words why that is not possible. The process must
/// have one thread and an empty environment.
pub fn seal(memory: u64) -> Result<(), String> {
    if std::env::vars_os().next().is_some() {
        return Err("the environment of a worker must be empty".to_owned());
    }
    // SAFETY: with CLONE_VM this changes nothing and fails when there is a second thread, which would stay unsealed.
    let shared = unsafe { libc::unshare(libc::CLONE_VM) };
    if shared != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        return Err("a worker must be sealed before it starts threads".to_owned());
    }
    let told = |what: &str, e: &dyn std::fmt::Display| format!("{what}: {e}");
    rustix::thread::set_no_new_privs(true).map_err(|e| told("no_new_privs", &e))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| told("dumpable", &e))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| told("death signal", &e))?;
    // SAFETY: no handler is installed; an interrupt at the terminal is for the parent to act on.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    // SAFETY: descriptors from 3 on belong to nobody here: the worker has opened none.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } != 0 {
        return Err(told("close_range", &std::io::Error::last_os_error()));
    }
    restrict_access()?;
    let limits = [
        (Resource::As, memory.saturating_mul(2).saturating_add(ADDRESS_SLACK)),
        (Resource::Nofile, 3),
        (Resource::Nproc, 0),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ];
    for (resource, limit) in limits {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        rustix::process::setrlimit(resource, limit).map_err(|e| told("limits", &e))?;
    }
    for filter in filters().map_err(|e| told("seccomp", &e))? {
        seccompiler::apply_filter(&filter).map_err(|e| told("seccomp", &e))?;
    }
    Ok(())
}

/// Landlock with nothing granted: a second wall behind seccomp. What the kernel does not know is left out.
fn restrict_access() -> Result<(), String> {
    const KNOWN: ABI = ABI::V6;
    Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(KNOWN)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map(drop)
        .map_err(|e| format!("landlock: {e}"))
}

fn filters() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let plain = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_futex,
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_sched_yield,
        libc::SYS_restart_syscall,
        // How a crash ends the process; raising a signal is allowed for the process itself only, see below.
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = plain.into_iter().map(|call| (call, Vec::new())).collect();
    // Memory may be written or executed later, never made executable.
    let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
    let not_executable = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(executable), 0)?;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        allowed.insert(call, vec![SeccompRule::new(vec![not_executable.clone()])?]);
    }
    let own = u64::from(std::process::id());
    let itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own)?;
    allowed.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![itself])?]);

    let deadly = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_open,
        libc::SYS_open_by_handle_at,
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_keyctl,
        libc::SYS_memfd_create,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
    ];
    let deadly = deadly.into_iter().map(|call| (call, Vec::new())).collect();

    let arch = std::env::consts::ARCH.try_into()?;
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let allow = SeccompFilter::new(allowed, denied, SeccompAction::Allow, arch)?;
    let kill = SeccompFilter::new(deadly, SeccompAction::Allow, SeccompAction::KillProcess, arch)?;
    // The filter that is installed last must itself be installed with `seccomp(2)` or `prctl(2)`, which the allow-list
    // does not have; so the deadly list goes first.
    Ok([kill.try_into()?, allow.try_into()?])
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_is_described() {
        let support = super::support();
        assert_eq!(support.reason.is_none(), support.seccomp && support.landlock.is_some());
    }
}
