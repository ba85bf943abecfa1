//! Limits on what the processes of an attempt use together: control groups, of version 2 or 1. It does not know
//! attempts. There is no second best: limits of single processes (`setrlimit`) do not hold a tree of them, so where no
//! group can be made, a limit is refused.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use raddle_engine::attempt::Resources;

/// Processor time is dealt out over this many microseconds.
const PERIOD_US: u64 = 100_000;
/// How names of our groups begin; the engine's pid follows.
const PREFIX: &str = "raddle-";

/// One controller that can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Memory,
    Cpu,
    Pids,
}

use Controller::{Cpu, Memory, Pids};

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Memory => "memory",
            Cpu => "cpu",
            Pids => "pids",
        }
    }
}

/// Where groups can be made.
#[derive(Debug)]
pub(crate) struct Groups {
    folders: Vec<(Controller, PathBuf)>,
    version: Version,
    made: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The group of one attempt; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    folders: Vec<PathBuf>,
    memory: Option<(PathBuf, u64)>,
    version: Version,
}

fn wanted(resources: &Resources) -> Vec<Controller> {
    let wants =
        [(Memory, resources.memory_bytes.is_some()), (Cpu, resources.cpu.is_some()), (Pids, resources.pids.is_some())];
    wants.into_iter().filter_map(|(controller, is_wanted)| is_wanted.then_some(controller)).collect()
}

/// Why such limits cannot be kept here; `None` when they can. Makes and removes a group to find out.
pub(crate) fn objection(resources: &Resources) -> Option<String> {
    if *resources == Resources::default() {
        return None;
    }
    Groups::find(resources).and_then(|mut groups| groups.make(resources)).err()
}

impl Groups {
    /// Looks for a place where groups with these limits can be made.
    pub(crate) fn find(resources: &Resources) -> Result<Groups, String> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (mounts, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
        let wanted = wanted(resources);
        let found = two(&mounts, &own, &wanted).or_else(|| one(&mounts, &own, &wanted));
        let groups = found.ok_or_else(|| {
            let names: Vec<_> = wanted.iter().map(|controller| controller.name()).collect();
            format!(
                "`resources` ({}) cannot be limited here: no control group can be made; run as root, or under \
                 `systemd-run --user --scope -p Delegate=yes`",
                names.join(", ")
            )
        })?;
        groups.sweep();
        Ok(groups)
    }

    /// Whether groups with these limits can be made here.
    pub(crate) fn serve(&self, resources: &Resources) -> bool {
        let has = |controller: Controller| self.folders.iter().any(|(other, _)| *other == controller);
        wanted(resources).into_iter().all(has)
    }

    /// Removes groups of engines that are no more; those that still hold a process stay.
    fn sweep(&self) {
        for (_, folder) in &self.folders {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let engine = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
                if engine.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                    let _ = std::fs::remove_dir(entry.path());
                }
            }
        }
    }

    /// Makes a group with these limits.
    pub(crate) fn make(&mut self, resources: &Resources) -> Result<Group, String> {
        self.made += 1;
        let name = format!("{PREFIX}{}-{}", std::process::id(), self.made);
        let mut group = Group { folders: Vec::new(), memory: None, version: self.version };
        let wanted = wanted(resources);
        for (controller, base) in self.folders.iter().filter(|(controller, _)| wanted.contains(controller)) {
            let folder = base.join(&name);
            if !group.folders.contains(&folder) {
                match std::fs::create_dir(&folder) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(format!("cannot make the control group {}: {error}", folder.display()));
                    }
                    _ => group.folders.push(folder.clone()),
                }
            }
            for (file, value, must) in settings(*controller, self.version, resources) {
                let path = folder.join(file);
                if must || path.exists() {
                    std::fs::write(&path, &value)
                        .map_err(|error| format!("cannot set the limit {}: {error}", path.display()))?;
                }
            }
            if *controller == Memory {
                group.memory = Some((folder, resources.memory_bytes.unwrap_or(0)));
            }
        }
        Ok(group)
    }
}

/// The files of a controller, what goes into each, and whether it must be there.
fn settings(controller: Controller, version: Version, resources: &Resources) -> Vec<(&'static str, String, bool)> {
    let memory = resources.memory_bytes.unwrap_or(0).to_string();
    let quota = (resources.cpu.unwrap_or(0.0) * PERIOD_US as f64).max(1000.0) as u64;
    let pids = resources.pids.unwrap_or(0).to_string();
    match (controller, version) {
        (Memory, Version::Two) => vec![
            ("memory.max", memory, true),
            // What is put out to disk is memory too.
            ("memory.swap.max", "0".into(), false),
            // The whole tree ends, not one process at random.
            ("memory.oom.group", "1".into(), false),
        ],
        (Memory, Version::One) => {
            vec![("memory.limit_in_bytes", memory.clone(), true), ("memory.memsw.limit_in_bytes", memory, false)]
        }
        (Cpu, Version::Two) => vec![("cpu.max", format!("{quota} {PERIOD_US}"), true)],
        (Cpu, Version::One) => {
            vec![("cpu.cfs_period_us", PERIOD_US.to_string(), true), ("cpu.cfs_quota_us", quota.to_string(), true)]
        }
        (Pids, _) => vec![("pids.max", pids, true)],
    }
}

impl Group {
    /// `cgroup.procs` of its folders: whoever writes `0` into it joins.
    pub(crate) fn doors(&self) -> Result<Vec<OwnedFd>, String> {
        let door = |folder: &PathBuf| {
            let path = folder.join("cgroup.procs");
            std::fs::File::options()
                .write(true)
                .open(&path)
                .map(OwnedFd::from)
                .map_err(|e| format!("{}: {e}", path.display()))
        };
        self.folders.iter().map(door).collect()
    }

    /// The limit in bytes, when something was ended because of it.
    pub(crate) fn ran_out_of_memory(&self) -> Option<u64> {
        let (folder, limit) = self.memory.as_ref()?;
        let file = if self.version == Version::Two { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(folder.join(file)).ok()?;
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse::<u64>().ok()?;
        (kills > 0).then_some(*limit)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            // What cannot be removed yet is removed by the next engine.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Where the hierarchy of that kind is mounted: for version 1, the one with that controller.
fn mount(mounts: &str, kind: &str, controller: Option<&str>) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let is_kind = after.next() == Some(kind);
        let options = after.nth(1).unwrap_or_default();
        let has = controller.is_none_or(|controller| options.split(',').any(|option| option == controller));
        (is_kind && has).then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or_default()))
    })
}

fn own_folder(mount: &Path, path: &str) -> PathBuf {
    let own = mount.join(path.trim_start_matches('/'));
    if own.is_dir() { own } else { mount.to_owned() }
}

/// Version 2: the nearest group from our own upwards below which the controllers are, or can be, switched on.
fn two(mounts: &str, own: &str, wanted: &[Controller]) -> Option<Groups> {
    let mount = mount(mounts, "cgroup2", None)?;
    let own = own_folder(&mount, own.lines().find_map(|line| line.strip_prefix("0::"))?);
    let folder = own.ancestors().take_while(|folder| folder.starts_with(&mount)).find(|folder| {
        let control = folder.join("cgroup.subtree_control");
        let has = |controller: Controller| {
            let enabled = std::fs::read_to_string(&control).unwrap_or_default();
            enabled.split_whitespace().any(|name| name == controller.name())
                || std::fs::write(&control, format!("+{}", controller.name())).is_ok()
        };
        may_make(folder) && wanted.iter().all(|controller| has(*controller))
    })?;
    let folders = wanted.iter().map(|controller| (*controller, folder.to_owned())).collect();
    Some(Groups { folders, version: Version::Two, made: 0 })
}

/// Version 1: below our own group of each controller.
fn one(mounts: &str, own: &str, wanted: &[Controller]) -> Option<Groups> {
    let folder = |controller: &Controller| {
        let mount = mount(mounts, "cgroup", Some(controller.name()))?;
        let line = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            parts.next()?.split(',').any(|name| name == controller.name()).then(|| parts.next())?
        })?;
        let folder = own_folder(&mount, line);
        may_make(&folder).then_some((*controller, folder))
    };
    let folders = wanted.iter().map(folder).collect::<Option<Vec<_>>>()?;
    Some(Groups { folders, version: Version::One, made: 0 })
}

fn may_make(folder: &Path) -> bool {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
        && rustix::fs::access(folder.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok()
}
