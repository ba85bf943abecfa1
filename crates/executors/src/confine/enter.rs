//! The way into confinement: what a child does between its clone and its exec. It does not know why it is confined.
//!
//! It runs in the memory of its parent, so everything here is a system call on data that the parent has laid out: no
//! allocation, no lock, no panic. Each step names itself before it is tried, so that a failure can be told.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_int};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use libc::sock_filter;

/// A process's confinement, laid out.
#[derive(Debug, Default)]
pub(crate) struct Seal {
    /// A mount namespace of its own; `None` where rules suffice.
    pub(super) view: Option<View>,
    /// The Landlock rules.
    pub(super) rules: Option<OwnedFd>,
    /// The filter of system calls.
    pub(super) filter: Vec<sock_filter>,
    /// `cgroup.procs` of the groups that it joins.
    pub(crate) groups: Vec<OwnedFd>,
}

/// The file system as the process sees it.
#[derive(Debug)]
pub(super) struct View {
    /// Lines for `uid_map` and `gid_map` of a user namespace; `None` for who may make mount namespaces without one.
    pub(super) identity: Option<[CString; 2]>,
    /// Everything is read-only but these.
    pub(super) writable: Option<Vec<Place>>,
    /// These cannot be opened.
    pub(super) masked: Vec<Place>,
    /// An empty folder that nobody may enter, put over masked folders.
    pub(super) nothing: CString,
}

/// A path without links in it, and what was found there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: CString,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) is_folder: bool,
    /// The detached copy of its mount, between two steps of the child.
    pub(super) tree: Cell<RawFd>,
}

/// Capabilities that are left to root: those over its own files and identities. All others are about the system.
const KEPT_CAPABILITIES: u64 = 0x1000_45FB;
const CAPABILITIES: c_int = 63;

const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_NODEV: u64 = 0x4;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const EMPTY: &CStr = c"";

/// `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    namespace: u64,
}

/// `struct open_how`.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

impl Seal {
    /// Namespaces that the clone itself must make.
    pub(crate) fn clone_flags(&self) -> c_int {
        match &self.view {
            Some(View { identity: Some(_), .. }) => libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWIPC,
            _ => 0,
        }
    }

    /// The first part, before the working folder is entered: groups and the view of the files.
    ///
    /// # Safety
    /// Only in a fresh child with one thread, whose parent keeps `self` alive.
    pub(crate) unsafe fn arrange(&self, step: &Cell<&'static str>) -> Result<(), ()> {
        // SAFETY: system calls on data that lives in the suspended parent.
        unsafe {
            for group in &self.groups {
                step.set("join its group of processes");
                done(libc::write(group.as_raw_fd(), c"0".as_ptr().cast(), 1) as i64)?;
            }
            match &self.view {
                Some(view) => view.arrange(step),
                None => Ok(()),
            }
        }
    }

    /// The second part, right before the exec: privileges, rules, filter.
    ///
    /// # Safety
    /// As for [`Seal::arrange`].
    pub(crate) unsafe fn close(&self, step: &Cell<&'static str>) -> Result<(), ()> {
        let Some(rules) = &self.rules else { return Ok(()) };
        // SAFETY: system calls on data that lives in the suspended parent.
        unsafe {
            step.set("give up privileges");
            drop_capabilities()?;
            done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
            step.set("apply rules about files (Landlock)");
            done(libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0))?;
            step.set("apply the filter of system calls (seccomp)");
            let program = libc::sock_fprog { len: self.filter.len() as u16, filter: self.filter.as_ptr().cast_mut() };
            done(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0).into())
                .map(drop)
        }
    }
}

impl View {
    unsafe fn arrange(&self, step: &Cell<&'static str>) -> Result<(), ()> {
        // SAFETY: see `Seal::arrange`.
        unsafe {
            match &self.identity {
                Some([user, group]) => {
                    step.set("keep its identity in a user namespace");
                    put(c"/proc/self/setgroups", c"deny")?;
                    put(c"/proc/self/uid_map", user)?;
                    put(c"/proc/self/gid_map", group)?;
                }
                None => {
                    step.set("make a mount namespace");
                    done(libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWIPC).into())?;
                }
            }
            step.set("keep its mounts to itself");
            let private = (libc::MS_REC | libc::MS_PRIVATE) as libc::c_ulong;
            let root = c"/".as_ptr();
            done(libc::mount(std::ptr::null(), root, std::ptr::null(), private, std::ptr::null()).into())?;
            if let Some(writable) = &self.writable {
                step.set("find a folder that it may write to");
                for place in writable {
                    place.tree.set(copy_of(place.open()?)?);
                }
                step.set("make everything else read-only");
                set_attributes(libc::AT_FDCWD, c"/", libc::AT_RECURSIVE, MOUNT_ATTR_RDONLY)?;
                step.set("keep a folder writable");
                for place in writable {
                    // Opened once more: it is to be found in what is mounted now.
                    put_over(place.tree.get(), place.open()?)?;
                }
            }
            step.set("hide what is denied");
            for place in &self.masked {
                let cover = if place.is_folder { &self.nothing } else { c"/dev/null" };
                let cover = done(libc::open(cover.as_ptr(), libc::O_PATH | libc::O_CLOEXEC).into())? as RawFd;
                let cover = copy_of(cover)?;
                // A device on a mount without devices cannot be opened by anybody.
                set_attributes(cover, EMPTY, libc::AT_EMPTY_PATH, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV)?;
                put_over(cover, place.open()?)?;
            }
        }
        Ok(())
    }
}

impl Place {
    /// Opens it, provided that it is still what was found there.
    unsafe fn open(&self) -> Result<RawFd, ()> {
        let how = OpenHow {
            flags: (libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW) as u64,
            mode: 0,
            resolve: RESOLVE_NO_SYMLINKS,
        };
        // SAFETY: see `Seal::arrange`; the structs are valid for the duration of the calls.
        unsafe {
            let fd = done(libc::syscall(
                libc::SYS_openat2,
                libc::AT_FDCWD,
                self.path.as_ptr(),
                &raw const how,
                size_of::<OpenHow>(),
            ))? as RawFd;
            let mut about: libc::stat = std::mem::zeroed();
            done(libc::fstat(fd, &mut about).into())?;
            if about.st_dev != self.device || about.st_ino != self.inode {
                *libc::__errno_location() = libc::ESTALE;
                return Err(());
            }
            Ok(fd)
        }
    }
}

/// A detached copy of what is mounted there.
unsafe fn copy_of(fd: RawFd) -> Result<RawFd, ()> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | (libc::AT_RECURSIVE | libc::AT_EMPTY_PATH) as u32;
    // SAFETY: see `Seal::arrange`.
    unsafe { done(libc::syscall(libc::SYS_open_tree, fd, EMPTY.as_ptr(), flags)).map(|fd| fd as RawFd) }
}

unsafe fn put_over(tree: RawFd, target: RawFd) -> Result<(), ()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: see `Seal::arrange`.
    unsafe { done(libc::syscall(libc::SYS_move_mount, tree, EMPTY.as_ptr(), target, EMPTY.as_ptr(), flags)).map(drop) }
}

unsafe fn set_attributes(fd: RawFd, path: &CStr, flags: c_int, set: u64) -> Result<(), ()> {
    let attributes = MountAttr { set, clear: 0, propagation: 0, namespace: 0 };
    // SAFETY: see `Seal::arrange`.
    unsafe {
        done(libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        ))
        .map(drop)
    }
}

unsafe fn put(path: &CStr, text: &CStr) -> Result<(), ()> {
    // SAFETY: see `Seal::arrange`.
    unsafe {
        let fd = done(libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC).into())? as RawFd;
        let result = done(libc::write(fd, text.as_ptr().cast(), text.count_bytes()) as i64);
        libc::close(fd);
        result.map(drop)
    }
}

/// Leaves what is in [`KEPT_CAPABILITIES`], for good.
unsafe fn drop_capabilities() -> Result<(), ()> {
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    // Three words for each half: effective, permitted, inheritable.
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: see `Seal::arrange`; the arrays have the layout of the kernel's structs.
    unsafe {
        for capability in 0..=CAPABILITIES {
            let is_bounded = libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) == 1;
            if is_bounded && KEPT_CAPABILITIES & (1 << capability) == 0 {
                // Who may not drop it has none either, and can gain none without new privileges.
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            }
        }
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        done(libc::syscall(libc::SYS_capget, &raw const header, &raw mut sets))?;
        for (half, set) in sets.iter_mut().enumerate() {
            let kept = (KEPT_CAPABILITIES >> (32 * half)) as u32;
            *set = [set[0] & kept, set[1] & kept, 0];
        }
        done(libc::syscall(libc::SYS_capset, &raw const header, &raw const sets))?;
    }
    Ok(())
}

fn done(result: i64) -> Result<i64, ()> {
    if result < 0 { Err(()) } else { Ok(result) }
}
