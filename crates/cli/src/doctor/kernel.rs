//! What the operating system offers for confinement: Landlock, seccomp, user namespaces, cgroups. It does not know
//! which executor uses what.

use std::fs;
use std::path::{Path, PathBuf};

use super::Finding;

const SECTION: &str = "Isolation";

/// One finding per mechanism.
pub(super) fn findings() -> Vec<Finding> {
    vec![
        Finding::new(
            SECTION,
            "Landlock",
            landlock_abi().map(|abi| format!("ABI {abi}")),
            "limits the files of code tasks: needs Linux 5.13 with CONFIG_SECURITY_LANDLOCK and `lsm=…,landlock`",
        ),
        Finding::new(
            SECTION,
            "seccomp",
            Path::new("/proc/sys/kernel/seccomp/actions_avail").exists().then(|| "filters".to_owned()),
            "limits the system calls of code tasks: needs CONFIG_SECCOMP_FILTER",
        ),
        Finding::new(
            SECTION,
            "user namespaces",
            user_namespaces(),
            "for isolation without root: allow them by sysctl (user.max_user_namespaces, kernel.unprivileged_userns_clone)",
        ),
        Finding::new(
            SECTION,
            "cgroup v2",
            delegated_cgroup(),
            "for exact limits on memory: start raddle under `systemd-run --user --scope -p Delegate=yes`",
        ),
    ]
}

/// The version of Landlock that the kernel speaks.
fn landlock_abi() -> Option<i64> {
    const CREATE_RULESET_VERSION: libc::c_uint = 1;
    // SAFETY: with a null attribute, size 0 and this flag the call only returns a number; it reads no memory of ours
    // and creates no descriptor.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    (abi > 0).then_some(abi)
}

fn user_namespaces() -> Option<String> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let most = number("/proc/sys/user/max_user_namespaces").filter(|n| *n > 0)?;
    let forbidden = number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0)
        || number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1);
    let root = rustix::process::geteuid().is_root();
    (root || !forbidden).then(|| format!("up to {most}"))
}

/// Our own cgroup, if we may make groups below it.
fn delegated_cgroup() -> Option<String> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?.trim_start_matches('/');
    let mount = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .map(PathBuf::from)
        .into_iter()
        .find(|mount| mount.join("cgroup.controllers").exists())?;
    let folder = mount.join(own);
    let may = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    if !may(&folder) || !may(&folder.join("cgroup.procs")) {
        return None;
    }
    let controllers = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    let controllers = controllers.trim();
    let controllers = if controllers.is_empty() { "no controllers" } else { controllers };
    Some(format!("{} ({controllers})", folder.display()))
}
