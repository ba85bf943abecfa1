//! Landlock rule sets: which files a confined process may open, and for what. It does not know why; paths come in as
//! open descriptors, so that what is granted is what was looked at.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// What this program needs of Landlock to claim that files are protected: the version that holds `truncate` too.
pub(crate) const LEAST_VERSION: u32 = 3;

/// Kinds of access, as the kernel numbers them.
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_BLOCK: u64 = 1 << 11;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

/// What may be done with an opened path and everything below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access(u64);

impl Access {
    /// Reading, listing, executing.
    pub(crate) const READ: Access = Access(EXECUTE | READ_FILE | READ_DIR);
    /// Writing, making, renaming, removing. Devices are never made.
    pub(crate) const WRITE: Access = Access(
        WRITE_FILE
            | REMOVE_DIR
            | REMOVE_FILE
            | MAKE_DIR
            | MAKE_REG
            | MAKE_SOCK
            | MAKE_FIFO
            | MAKE_SYM
            | REFER
            | TRUNCATE,
    );
    /// Both.
    pub(crate) const ALL: Access = Access(Self::READ.0 | Self::WRITE.0);
    /// A device that every program may use.
    pub(crate) const DEVICE: Access = Access(READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEV);
    /// What a plain file can be asked for; the kernel refuses rules that grant more on one.
    const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
}

/// The kernel's version of Landlock; `None` when there is none or it is switched off.
pub(crate) fn version() -> Option<u32> {
    // SAFETY: with these arguments the call only asks for the version.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1) };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct Handled {
    files: u64,
    network: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`, which is packed.
#[repr(C, packed)]
struct Beneath {
    access: u64,
    parent: i32,
}

/// Rules under construction.
#[derive(Debug)]
pub(crate) struct Rules {
    fd: OwnedFd,
    handled: u64,
}

impl Rules {
    /// Nothing is allowed yet. With `offline` TCP is refused too, and where the kernel knows it, signals and abstract
    /// sockets end at the domain's border.
    pub(crate) fn new(version: u32, offline: bool) -> Result<Self, Errno> {
        let mut handled = EXECUTE | Access::ALL.0 | MAKE_CHAR | MAKE_BLOCK;
        if version >= 5 {
            handled |= IOCTL_DEV;
        }
        let attributes = Handled {
            files: handled,
            network: if offline && version >= 4 { 0b11 } else { 0 },
            scoped: if version >= 6 { 0b11 } else { 0 },
        };
        let size = match version {
            ..=3 => 8,
            4..=5 => 16,
            _ => 24,
        };
        // SAFETY: the struct is valid for the size that this version reads; the call makes a descriptor.
        let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size, 0) };
        if fd < 0 {
            return Err(super::last_errno());
        }
        // SAFETY: the kernel has just made this descriptor for us, with close-on-exec.
        Ok(Rules { fd: unsafe { OwnedFd::from_raw_fd(fd as i32) }, handled })
    }

    /// Grants access to an opened path and what is below it.
    pub(crate) fn allow(&mut self, path: impl AsFd, is_folder: bool, access: Access) -> Result<(), Errno> {
        const PATH_BENEATH: libc::c_int = 1;
        let of_kind = if is_folder { u64::MAX } else { Access::OF_FILES };
        let rule = Beneath { access: access.0 & of_kind & self.handled, parent: path.as_fd().as_raw_fd() };
        if rule.access == 0 {
            return Ok(());
        }
        // SAFETY: the struct is valid and the descriptor open for the duration of the call.
        let result = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, self.fd.as_raw_fd(), PATH_BENEATH, &raw const rule, 0)
        };
        if result < 0 { Err(super::last_errno()) } else { Ok(()) }
    }

    /// The finished rules, for `landlock_restrict_self`.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }
}
