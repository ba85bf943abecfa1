//! What this machine offers for confinement, and what programs need of it to run at all. It does not know what is
//! confined.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::filter;
use super::landlock::{self, Access};
use super::paths::{Found, Refusal};

/// Devices that every program may use. No terminals: who may open the user's could write to it.
pub(super) const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What may be read under any list: programs, libraries, and the few settings without which they do not start, find
/// no names, or trust no certificates. Nothing of the user's, and nothing secret of the system's.
pub(crate) const READ_BY_PROGRAMS: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/etc/alternatives",
    "/etc/bash.bashrc",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/gai.conf",
    "/etc/gitconfig",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/inputrc",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    // Login shells, as agents use them, complain in every answer without these.
    "/etc/profile",
    "/etc/profile.d",
    "/etc/protocols",
    "/etc/python3",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/terminfo",
    "/etc/timezone",
    // Other processes' memory, environment and files are held by the kernel's rule that nobody traces out of a domain.
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];

/// What this machine can hold processes to; for `doctor`, `executors compare` and refusals before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support {
    /// The kernel's Landlock version.
    pub landlock: Option<u32>,
    /// Why permissions cannot be enforced at all; `None` when they can.
    pub files: Option<String>,
    /// Why lists of what may be written, and denies, cannot be enforced; `None` when they can.
    pub mounts: Option<String>,
}

/// Finds out what this machine can enforce, without changing anything.
pub fn support() -> Support {
    Support {
        landlock: landlock::version(),
        files: version_for_confinement().err(),
        mounts: identity_for_mounts().err(),
    }
}

/// The version of Landlock, if all is there that every confinement needs.
pub(super) fn version_for_confinement() -> Result<u32, Refusal> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return Err("permissions cannot be enforced on this architecture".to_owned());
    }
    if !filter::is_supported() {
        return Err("permissions cannot be enforced: the kernel does not filter system calls (seccomp)".to_owned());
    }
    match landlock::version() {
        Some(version) if version >= landlock::LEAST_VERSION => Ok(version),
        Some(version) => Err(format!(
            "permissions cannot be enforced: the kernel's Landlock is version {version}, {} is needed (Linux 6.2)",
            landlock::LEAST_VERSION
        )),
        None => Err(
            "permissions cannot be enforced: the kernel has no Landlock (Linux 6.2 with `landlock` among its security modules)"
                .to_owned(),
        ),
    }
}

/// The maps of a user namespace in which the user stays who he is; `None` for root, who needs none.
pub(super) fn identity_for_mounts() -> Result<Option<[CString; 2]>, Refusal> {
    const SYS_ADMIN: u32 = 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    if capabilities & 1 << SYS_ADMIN != 0 {
        return Ok(None);
    }
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let setting = [
        ("user.max_user_namespaces", number("/proc/sys/user/max_user_namespaces").unwrap_or(0) == 0),
        ("kernel.unprivileged_userns_clone", number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0)),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1),
        ),
    ];
    if let Some((name, _)) = setting.iter().find(|(_, forbids)| *forbids) {
        return Err(format!(
            "lists of what may be written and denies cannot be enforced: {name} forbids user namespaces"
        ));
    }
    let [user, group] = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()];
    let line = |id: u32| CString::new(format!("{id} {id} 1")).expect("digits and spaces hold no NUL");
    Ok(Some([line(user), line(group)]))
}

/// Grants access to all there is, but for the ways round: `/proc` and `/sys` are never written, and devices are opened
/// only where nothing at all is restricted to a list, disks and memory never.
pub(super) fn top_level(
    access: Access,
    devices: bool,
    allow: &mut dyn FnMut(&Found, Access) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let list = |folder: &str| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in list("/") {
        let allowed = match path.to_str() {
            Some("/dev") => false,
            Some("/proc" | "/sys") => access == Access::READ,
            _ => true,
        };
        if allowed && let Some(found) = Found::open(&path, true, None)? {
            allow(&found, access)?;
        }
    }
    if devices {
        for path in list("/dev").filter(|path| is_harmless_device(path)) {
            if let Some(found) = Found::open(&path, true, None)? {
                allow(&found, if found.is_folder { access } else { Access::DEVICE })?;
            }
        }
    }
    Ok(())
}

fn is_harmless_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let memory = ["mem", "kmem", "port", "kmsg"].iter().any(|name| path.file_name() == Some(OsStr::new(name)));
    // Links lead to what has a place of its own, or to whatever this process has open.
    let is_sound = |about: std::fs::Metadata| !about.file_type().is_block_device() && !about.is_symlink();
    !memory && path.symlink_metadata().is_ok_and(is_sound)
}

/// The user's settings of git, which does nothing at all when it sees that they are there and cannot read them.
/// Credentials are kept elsewhere.
pub(super) fn settings_of_git() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let names = [".gitconfig", ".config/git/config", ".config/git/ignore", ".config/git/attributes"];
    home.map(|home| names.iter().map(|name| home.join(name)).collect()).unwrap_or_default()
}

/// The folders of a PATH that hold programs, with those beside them that the programs are made of, and nothing of the
/// user's besides: none that contains his home or the tasks' folder.
pub(super) fn program_folders(path: &[u8], fixed: &Path) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let folders = path.split(|byte| *byte == b':').map(|part| PathBuf::from(OsStr::from_bytes(part)));
    let folders = folders.filter_map(|folder| folder.is_absolute().then(|| folder.canonicalize().ok())?);
    let with_parts = folders.flat_map(|folder| {
        let beside = |name: &str| folder.parent().map(|parent| parent.join(name));
        let parts = match folder.file_name().and_then(OsStr::to_str) {
            // Version managers keep stand-ins there, and what they stand for below the folder above.
            Some("shims") => vec![folder.parent().map(Path::to_owned)],
            Some("bin") => vec![beside("lib"), beside("libexec")],
            _ => Vec::new(),
        };
        parts.into_iter().flatten().chain([folder])
    });
    with_parts.filter(|folder| !home.starts_with(folder) && !fixed.starts_with(folder)).collect()
}

/// The folder of packages that a program is part of: what stands on the PATH is often a link to a script that wants
/// the files beside it.
pub(crate) fn packages_of(program: &str, path: &[u8]) -> Option<PathBuf> {
    let folders = path.split(|byte| *byte == b':').map(|part| PathBuf::from(OsStr::from_bytes(part)));
    let place = match program.contains('/') {
        true => Path::new(program).is_absolute().then(|| PathBuf::from(program))?,
        false => folders.map(|folder| folder.join(program)).find(|file| file.is_file())?,
    };
    let place = place.canonicalize().ok()?;
    let modules = place.ancestors().filter(|folder| folder.ends_with("node_modules")).last();
    Some(modules.unwrap_or(&place).to_owned())
}
