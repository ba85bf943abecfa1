//! What the operating system holds the processes of an attempt to: from a [`Confinement`] to a [`Seal`] that a child
//! puts on before its exec. It does not know tasks, agents or servers; they say what they need besides.
//!
//! Three mechanisms, each for what it can do: Landlock for the lists of paths, a mount namespace for what Landlock
//! cannot say (an exception inside a list; modes, owners and times of files), seccomp for sockets and for all that
//! would go round the two. What cannot be held is refused before anything starts, never weakened.

mod enter;
mod filter;
mod landlock;
mod paths;
mod system;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use raddle_engine::attempt::{Confinement, Network};
use rustix::io::Errno;

use crate::container::Contents;

pub(crate) use enter::Seal;
use enter::{Place, View};

use landlock::{Access, Rules};
use paths::{Found, Pattern, Refusal};
pub(crate) use system::{READ_BY_PROGRAMS, packages_of};
pub use system::{Support, support};

/// More paths than this to be hidden are refused: each is a mount at every start.
const MASKS: usize = 512;

/// What processes of an attempt need beside what the confinement grants.
#[derive(Debug)]
pub(crate) struct Needs<'a> {
    /// The folder that tasks work in: what is below it may have been made by tasks.
    pub(crate) fixed: &'a Path,
    /// The attempt's own folder, for its output and its temporary files.
    pub(crate) own: Option<&'a Path>,
    /// An empty folder that nobody may enter.
    pub(crate) nothing: &'a Path,
    /// Files and folders that it must be able to read: its dependencies, a prompt.
    pub(crate) read: Vec<PathBuf>,
    /// Files and folders that it must be able to write: the settings of an agent CLI.
    pub(crate) write: Vec<PathBuf>,
    /// Folders in which its programs are.
    pub(crate) path: &'a [u8],
}

/// A confinement, prepared for one start.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// For the child.
    pub(crate) seal: Seal,
    /// What is denied, does not exist, and could be made by the attempt: looked for again at its end.
    absent: Vec<Absent>,
}

/// See [`Prepared::absent`].
#[derive(Debug)]
struct Absent {
    pattern: Pattern,
    /// What matched at the start, and is hidden.
    known: Vec<PathBuf>,
}

impl<'a> Needs<'a> {
    /// Of a process that works in that folder and finds its programs there.
    pub(crate) fn of(fixed: &'a Path, path: &'a [u8]) -> Self {
        Needs { fixed, path, own: None, nothing: Path::new("/"), read: Vec::new(), write: Vec::new() }
    }
}

impl Prepared {
    /// Denied paths that have come into being meanwhile.
    pub(crate) fn appeared(&self) -> Vec<PathBuf> {
        let new = |absent: &Absent| {
            // More of them than are counted are more than were there at the start.
            let matches = absent.pattern.matches().unwrap_or_else(|_| vec![absent.pattern.plain_part()]);
            matches.into_iter().filter(|path| !absent.known.contains(path)).collect::<Vec<_>>()
        };
        self.absent.iter().flat_map(new).collect()
    }
}

/// Lays a confinement out; in words why it cannot be held.
pub(crate) fn prepare(confinement: &Confinement, needs: &Needs<'_>) -> Result<Prepared, Refusal> {
    let version = system::version_for_confinement()?;
    let offline = confinement.network == Network::None;
    let reads = granted(confinement.read.as_deref(), needs.fixed)?;
    let writes = match &confinement.write {
        Some(list) => {
            make_missing(list)?;
            granted(Some(list), needs.fixed)?
        }
        None => None,
    };
    let denies = Denies::find(confinement, needs)?;

    let mut rules = Rules::new(version, offline).map_err(refused("make rules about files (Landlock)"))?;
    let mut allow = |found: &Found, access: Access| {
        rules.allow(&found.fd, found.is_folder, access).map_err(refused("make a rule about files (Landlock)"))
    };
    for path in system::DEVICES {
        open(path, &mut |found| allow(&found, Access::DEVICE))?;
    }
    match &reads {
        None => system::top_level(Access::READ, confinement.write.is_none(), &mut allow)?,
        Some(list) => {
            for path in system::READ_BY_PROGRAMS {
                open(path, &mut |found| allow(&found, Access::READ))?;
            }
            let folders = system::program_folders(needs.path, needs.fixed);
            for path in folders.into_iter().chain(system::settings_of_git()) {
                open(&path, &mut |found| allow(&found, Access::READ))?;
            }
            list.iter().try_for_each(|found| allow(found, Access::READ))?;
        }
    }
    match &writes {
        None => system::top_level(Access::WRITE, reads.is_none(), &mut allow)?,
        Some(list) => list.iter().try_for_each(|found| allow(found, Access::WRITE))?,
    }
    let mut writable: Vec<Place> = Vec::new();
    for path in &needs.read {
        open(path, &mut |found| allow(&found, Access::READ))?;
    }
    for path in needs.own.into_iter().chain(needs.write.iter().map(PathBuf::as_path)) {
        open(path, &mut |found| {
            writable.push(found.place()?);
            allow(&found, Access::ALL)
        })?;
    }
    writable.extend(writes.iter().flatten().map(Found::place).collect::<Result<Vec<_>, _>>()?);

    let view = if writes.is_some() || !denies.masked.is_empty() {
        Some(View {
            identity: system::identity_for_mounts()?,
            writable: writes.is_some().then(|| outermost(writable)),
            masked: denies.masked,
            nothing: CString::new(needs.nothing.as_os_str().as_bytes())
                .map_err(|_| "the run's folder has a NUL in its name".to_owned())?,
        })
    } else {
        None
    };
    let filter = filter::program(offline, view.is_none());
    let seal = Seal { view, rules: Some(rules.into_fd()), filter, groups: Vec::new() };
    Ok(Prepared { seal, absent: denies.absent })
}

/// What a container of that confinement holds: what is granted, else the folder that the task works in.
pub(crate) fn contents(confinement: Option<&Confinement>, needs: &Needs<'_>) -> Result<(Contents, Prepared), Refusal> {
    let everything = Confinement::default();
    let confinement = confinement.unwrap_or(&everything);
    let reads = granted(confinement.read.as_deref(), needs.fixed)?;
    if let Some(list) = &confinement.write {
        make_missing(list)?;
    }
    let writes = granted(confinement.write.as_deref(), needs.fixed)?;
    let mut mounts: Vec<(PathBuf, bool)> = Vec::new();
    let mut add = |found: Found, is_writable: bool| mounts.push((found.path, is_writable));
    let folder = |add: &mut dyn FnMut(Found, bool), is_writable| {
        open(needs.fixed, &mut |found| {
            add(found, is_writable);
            Ok(())
        })
    };
    match (reads, writes) {
        (None, None) => folder(&mut add, true)?,
        (None, Some(writes)) => {
            folder(&mut add, false)?;
            writes.into_iter().for_each(|found| add(found, true));
        }
        (Some(reads), None) => {
            folder(&mut add, true)?;
            reads.into_iter().for_each(|found| add(found, false));
        }
        (Some(reads), Some(writes)) => {
            reads.into_iter().for_each(|found| add(found, false));
            writes.into_iter().for_each(|found| add(found, true));
        }
    }
    for (paths, is_writable) in [(&needs.read, false), (&needs.write, true)] {
        for path in paths {
            open(path, &mut |found| {
                add(found, is_writable);
                Ok(())
            })?;
        }
    }
    if let Some(own) = needs.own {
        open(own, &mut |found| {
            add(found, true);
            Ok(())
        })?;
    }
    let denies = Denies::find(confinement, needs)?;
    // Outer ones first, and of one path the one that may be written last: it is on top.
    mounts.sort();
    mounts.dedup_by(|later, earlier| {
        later.0 == earlier.0 && {
            earlier.1 |= later.1;
            true
        }
    });
    // Lists add up: what may only be read in one may be written by the other, as with the other mechanisms.
    let writable: Vec<PathBuf> = mounts.iter().filter(|(_, writes)| *writes).map(|(path, _)| path.clone()).collect();
    mounts.retain(|(path, writes)| *writes || !writable.iter().any(|outer| path.starts_with(outer)));
    let path = |place: &Place| PathBuf::from(std::ffi::OsStr::from_bytes(place.path.as_bytes()));
    let masked: Vec<(PathBuf, bool)> = denies.masked.iter().map(|place| (path(place), place.is_folder)).collect();
    // What lies in something denied is not there at all. What programs need is always mounted, so it counts here.
    mounts.retain(|(mount, _)| !masked.iter().any(|(hidden, _)| mount.starts_with(hidden)));
    let is_seen = |hidden: &Path| {
        let mut places = mounts.iter().map(|(mount, _)| mount.as_path()).chain(READ_BY_PROGRAMS.iter().map(Path::new));
        places.any(|place| hidden.starts_with(place) || place.starts_with(hidden))
    };
    let masked = masked.into_iter().filter(|(hidden, _)| is_seen(hidden)).collect();
    let nothing = needs.nothing.to_owned();
    Ok((Contents { mounts, masked, nothing }, Prepared { seal: Seal::default(), absent: denies.absent }))
}

/// Whether all of these paths may be read, each with what is below it; in words why not. For who opens them itself.
pub(crate) fn refuse_reads(confinement: &Confinement, paths: &[PathBuf]) -> Result<(), Refusal> {
    for path in paths {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        for text in &confinement.deny {
            let pattern = Pattern::parse(text)?;
            let mut spots = pattern.matches()?.into_iter().filter_map(|spot| spot.canonicalize().ok());
            let met = spots.find(|spot| real.starts_with(spot) || spot.starts_with(&real));
            // What is there may lead elsewhere; what is not there yet is known by its name only.
            let met = met.or_else(|| pattern.may_meet(&real).then(|| pattern.path().to_owned()));
            if let Some(spot) = met {
                return Err(format!("{} may not be read: {} is denied (`{text}`)", path.display(), spot.display()));
            }
        }
        if let Some(found) = granted(confinement.read.as_deref(), path)?
            && !found.iter().any(|found| if found.tree { real.starts_with(&found.path) } else { real == found.path })
        {
            return Err(format!("{} may not be read: it is in no list of `permissions`", path.display()));
        }
    }
    Ok(())
}

/// What is denied: what is there to be hidden, and what is not there yet.
struct Denies {
    masked: Vec<Place>,
    absent: Vec<Absent>,
}

impl Denies {
    fn find(confinement: &Confinement, needs: &Needs<'_>) -> Result<Denies, Refusal> {
        let mut found: Vec<Found> = Vec::new();
        let mut absent = Vec::new();
        for text in &confinement.deny {
            let pattern = Pattern::parse(text)?;
            let matches = pattern.matches()?;
            let is_open = !pattern.is_plain() || matches.is_empty();
            for path in &matches {
                // Links are followed here: what they lead to is denied.
                found.extend(Found::open(path, true, None)?);
            }
            if is_open && may_be_made(&pattern, confinement) {
                absent.push(Absent { pattern, known: matches });
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found.dedup_by(|later, earlier| later.path.starts_with(&earlier.path));
        if found.len() > MASKS {
            return Err(format!("more than {MASKS} paths are denied; deny the folders that they are in"));
        }
        for hidden in &found {
            let shown = hidden.path.display();
            if !hidden.is_folder && hidden.names > 1 {
                return Err(format!(
                    "{shown} is denied and has another name (a hard link), by which it could be opened"
                ));
            }
            let needed = needs.own.into_iter().chain([needs.fixed, needs.nothing]);
            if let Some(path) = needed.filter_map(|path| path.canonicalize().ok()).find(|p| p.starts_with(&hidden.path))
            {
                return Err(format!("{shown} is denied, and the task works in {}", path.display()));
            }
        }
        Ok(Denies { masked: found.iter().map(Found::place).collect::<Result<_, _>>()?, absent })
    }
}

/// Whether a path that matches could be made by who is confined so.
fn may_be_made(deny: &Pattern, confinement: &Confinement) -> bool {
    let Some(write) = &confinement.write else { return true };
    let part = deny.plain_part();
    write.iter().filter_map(|text| Pattern::parse(text).ok()).any(|pattern| {
        let other = pattern.plain_part();
        part.starts_with(&other) || other.starts_with(&part)
    })
}

/// What a list of patterns grants; `None` for everything.
fn granted(list: Option<&[String]>, fixed: &Path) -> Result<Option<Vec<Found>>, Refusal> {
    let Some(list) = list else { return Ok(None) };
    let mut all = Vec::new();
    for text in list {
        let pattern = Pattern::parse(text)?;
        for path in pattern.matches()? {
            let Some(found) = Found::open(&path, pattern.tree, Some(fixed))? else { continue };
            if !found.is_folder || found.tree {
                all.push(found);
            } else if pattern.is_plain() {
                // The system could hold this only by opening what is below as well.
                return Err(format!("`{text}` is a folder; `{text}/**` names what is in it"));
            }
        }
    }
    Ok(Some(all))
}

/// What may be written and does not exist is made: the system can only open what is there.
fn make_missing(list: &[String]) -> Result<(), Refusal> {
    for text in list {
        let pattern = Pattern::parse(text)?;
        let path = pattern.path();
        if !pattern.is_plain() || path.symlink_metadata().is_ok() {
            continue;
        }
        let made = if pattern.tree {
            std::fs::create_dir_all(path)
        } else {
            std::fs::File::options().write(true).create_new(true).open(path).map(drop)
        };
        made.map_err(|error| format!("`{text}` may be written and cannot be made: {error}"))?;
    }
    Ok(())
}

fn open(path: impl AsRef<Path>, then: &mut dyn FnMut(Found) -> Result<(), Refusal>) -> Result<(), Refusal> {
    match Found::open(path.as_ref(), true, None)? {
        Some(found) => then(found),
        None => Ok(()),
    }
}

/// Leaves out what lies in another of them.
fn outermost(mut places: Vec<Place>) -> Vec<Place> {
    places.sort_by(|a, b| a.path.cmp(&b.path));
    let inside = |place: &Place, other: &Place| {
        let [inner, outer] = [place, other].map(|p| Path::new(std::ffi::OsStr::from_bytes(p.path.as_bytes())));
        inner.starts_with(outer)
    };
    let mut kept: Vec<Place> = Vec::new();
    for place in places {
        if !kept.iter().any(|other| inside(&place, other)) {
            kept.push(place);
        }
    }
    kept
}

fn refused(what: &str) -> impl Fn(Errno) -> Refusal {
    move |errno| format!("cannot {what}: {}", std::io::Error::from(errno))
}

fn last_errno() -> Errno {
    // SAFETY: the location is valid for the calling thread.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}
