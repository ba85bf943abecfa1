//! The filter of system calls of a confined process, as a program for the kernel. It does not know paths: it takes away
//! what would go round the rules about paths and networks.
//!
//! Unlike the filter of sandbox workers this one is a deny-list: it holds arbitrary programs, which must go on working.
//! It is written out by hand, since two of its tests are ranges and masks over the number of the call and its arguments.

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// Answered with `ENOSYS`: programs do without what the kernel does not have.
const UNKNOWN: &[libc::c_long] = &[
    // Would make sockets and open files behind the filter's back.
    libc::SYS_io_uring_setup,
    // The keys of the user's session.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
];

/// Answered with `EPERM`: the system as a whole, other processes, files by number instead of by path, mounts.
const FORBIDDEN: &[libc::c_long] = &[
    libc::SYS_open_by_handle_at,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
];

/// Memory, queues and semaphores that are found by number; refused where they are not the process's own already.
const SHARED: &[libc::c_long] = &[libc::SYS_shmget, libc::SYS_msgget, libc::SYS_semget, libc::SYS_mq_open];

/// Forbidden without a network, beside making sockets.
const OFFLINE: &[libc::c_long] = &[libc::SYS_connect, libc::SYS_bind, libc::SYS_listen];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;
/// Numbers from here on are another binary interface (x32) of the same calls.
const FOREIGN_NUMBERS: u32 = 0x4000_0000;

/// Where `struct seccomp_data` has its fields.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

const fn refuse(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

/// A filter for processes that may not talk to others by local sockets, and with `offline` to nobody at all.
///
/// Local sockets are refused in any case: whoever may ask a daemon of the user's (Docker, D-Bus, an agent of keys) to
/// do something is not confined. Connected pairs, by which parents and children talk, are left; not those of
/// datagrams, which can be sent elsewhere later.
/// `shares` says that the process is in the namespace of everybody's shared memory.
pub(crate) fn program(offline: bool, shares: bool) -> Vec<sock_filter> {
    let mut program = vec![
        load(ARCH),
        jump(BPF_JEQ, ARCHITECTURE, 1, 0),
        ret(KILL),
        load(NUMBER),
        jump(BPF_JGE, FOREIGN_NUMBERS, 0, 1),
        ret(refuse(libc::ENOSYS)),
    ];
    let mut answer = |calls: &[libc::c_long], answer: u32| {
        for call in calls {
            program.extend([jump(BPF_JEQ, *call as u32, 0, 1), ret(answer)]);
        }
    };
    answer(UNKNOWN, refuse(libc::ENOSYS));
    answer(FORBIDDEN, refuse(libc::EPERM));
    if shares {
        answer(SHARED, refuse(libc::ENOSYS));
    }
    if offline {
        answer(OFFLINE, refuse(libc::EACCES));
        answer(&[libc::SYS_socket], refuse(libc::EACCES));
    }
    program.extend([
        jump(BPF_JEQ, libc::SYS_socket as u32, 0, 4),
        load(FIRST_ARGUMENT),
        jump(BPF_JEQ, libc::AF_UNIX as u32, 0, 1),
        ret(refuse(libc::EACCES)),
        ret(ALLOW),
        jump(BPF_JEQ, libc::SYS_socketpair as u32, 1, 0),
        ret(ALLOW),
        load(FIRST_ARGUMENT),
        jump(BPF_JEQ, libc::AF_UNIX as u32, 1, 0),
        ret(refuse(libc::EACCES)),
        load(SECOND_ARGUMENT),
        // The type without its flags.
        statement(BPF_ALU | BPF_AND | BPF_K, 0xF),
        jump(BPF_JEQ, libc::SOCK_STREAM as u32, 1, 0),
        jump(BPF_JEQ, libc::SOCK_SEQPACKET as u32, 0, 1),
        ret(ALLOW),
        ret(refuse(libc::EACCES)),
    ]);
    program
}

/// Whether the kernel filters system calls.
pub(crate) fn is_supported() -> bool {
    const GET_ACTION_AVAIL: libc::c_uint = 2;
    let action = KILL;
    // SAFETY: the call only asks whether the action is known; the pointer is valid for its duration.
    unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn ret(value: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, value)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | test | BPF_K) as u16, jt, jf, k }
}
