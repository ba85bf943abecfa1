//! Isolation in a container: chooses who makes it, and turns a command into the command that runs it there. It does not
//! know attempts, nor how processes are supervised.
//!
//! The programs `podman`, `docker` and `bwrap` are driven rather than their sockets: the container's output, end and
//! death by signal are then those of a child like any other. What the child's end does not end, a container of a
//! daemon, is removed by name.

mod able;
mod left;

use std::path::{Path, PathBuf};
use std::time::Duration;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{Demands, Failure, Isolation, Resources};

use crate::confine::READ_BY_PROGRAMS;

pub(crate) use able::objection;
pub(crate) use left::{Contained, remove_left};

/// Environment variables: names and values.
type Variables = Vec<(String, String)>;

/// Processes and threads of a container whose task says nothing.
const PIDS: u32 = 4096;
/// How long a runtime may take to answer; behind Docker is a daemon that may hang.
const PATIENCE: Duration = Duration::from_secs(10);
/// Beginnings of variables that would steer the client instead of reaching the task by way of its environment.
const STEERING: [&str; 14] = [
    "BUILDAH_",
    "CONTAINER",
    "DBUS_",
    "DOCKER_",
    "GODEBUG",
    "HOME",
    "HTTP",
    "LD_",
    "NO_PROXY",
    "PATH",
    "PODMAN",
    "REGISTRY_",
    "STORAGE_",
    "TMPDIR",
];

/// What the clients of container engines want to know.
pub(crate) const CLIENT_ENV: [&str; 5] = ["DOCKER_*", "CONTAINER*", "XDG_*", "DBUS_SESSION_BUS_ADDRESS", "STORAGE_*"];

/// `[executors.container]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// `docker`, `podman` or `bwrap`; chosen by what is there when it is not said.
    pub runtime: Option<String>,
    /// The image, for `docker` and `podman`.
    pub image: Option<String>,
    /// Whether containers have the machine's network.
    pub network: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bubblewrap,
    Docker,
    Podman,
}

/// Who makes containers here.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    kind: Kind,
    program: PathBuf,
    image: String,
    network: bool,
}

/// What of the machine's files is in the container, each at its own path.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Paths, and whether they may be written; outer ones first.
    pub(crate) mounts: Vec<(PathBuf, bool)>,
    /// What is hidden in them, and whether it is a folder.
    pub(crate) masked: Vec<(PathBuf, bool)>,
    /// An empty folder that nobody may enter, to be put over folders.
    pub(crate) nothing: PathBuf,
}

/// A command to be run in a container.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) cwd: &'a Path,
    pub(crate) name: &'a str,
    /// The run and the task that it is for.
    pub(crate) labels: [(&'a str, &'a str); 2],
    pub(crate) variables: &'a [(&'a str, &'a str)],
    pub(crate) contents: &'a Contents,
    pub(crate) resources: &'a Resources,
    pub(crate) has_input: bool,
    pub(crate) offline: bool,
}

impl Runtime {
    /// Who makes the container that is demanded, if one is.
    pub(crate) fn of(demands: &Demands, config: &ContainerConfig) -> Result<Option<Runtime>, Failure> {
        if demands.isolation != Isolation::Container {
            return Ok(None);
        }
        Self::choose(config).map(Some).map_err(|why| Failure::new(FailureClass::Permission, why))
    }

    /// The configured one, or what is on the PATH: with an image Podman or Docker, else bubblewrap.
    pub(crate) fn choose(config: &ContainerConfig) -> Result<Runtime, String> {
        let wanted: &[Kind] = match (config.runtime.as_deref(), &config.image) {
            (Some("bwrap"), _) => &[Kind::Bubblewrap],
            (Some("docker"), _) => &[Kind::Docker],
            (Some("podman"), _) => &[Kind::Podman],
            (Some(other), _) => return Err(format!("`{other}` is no runtime of containers")),
            (None, Some(_)) => &[Kind::Podman, Kind::Docker],
            (None, None) => &[Kind::Bubblewrap],
        };
        for kind in wanted {
            let Some(program) = find(kind.program()) else { continue };
            let image = match (kind, &config.image) {
                (Kind::Bubblewrap, _) => String::new(),
                (_, Some(image)) if !image.is_empty() && !image.starts_with('-') => image.clone(),
                _ => return Err("`isolation: container` needs `image` in `[executors.container]`".to_owned()),
            };
            return Ok(Runtime { kind: *kind, program, image, network: config.network });
        }
        let names: Vec<&str> = wanted.iter().map(|kind| kind.program()).collect();
        Err(format!(
            "`isolation: container` cannot be provided: {} is not on the PATH; install bubblewrap, or Podman or Docker \
             with `image` in `[executors.container]`",
            names.join(" or ")
        ))
    }

    /// Whether it is an engine with images, which also keeps limits on resources itself.
    pub(crate) fn is_an_engine(&self) -> bool {
        self.kind != Kind::Bubblewrap
    }

    /// The command that ends a container whatever it does; `None` where it ends with the process that made it.
    pub(crate) fn removal(&self, name: &str) -> Option<Vec<String>> {
        let program = self.program.to_str()?.to_owned();
        (self.kind != Kind::Bubblewrap).then(|| vec![program, "rm".into(), "-f".into(), name.into()])
    }

    /// The command that runs the other inside, and what its own environment must hold besides the allow-list.
    pub(crate) fn command(&self, inside: &Inside<'_>) -> Result<(Vec<String>, Variables), String> {
        let text = |path: &Path| {
            let text = path.to_str().filter(|text| !text.contains([',', '\n'])).map(str::to_owned);
            text.ok_or_else(|| format!("{} cannot be a path of a container: it is no plain text", path.display()))
        };
        let mut argv = vec![text(&self.program)?];
        let offline = inside.offline || !self.network;
        let mut variables = Vec::new();
        match self.kind {
            Kind::Bubblewrap => {
                self.bubblewrap(inside, offline, &mut argv, &text)?;
                variables =
                    inside.variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            }
            Kind::Docker | Kind::Podman => self.engine(inside, offline, &mut argv, &mut variables, &text)?,
        }
        argv.extend(inside.argv.iter().cloned());
        Ok((argv, variables))
    }

    fn bubblewrap(
        &self,
        inside: &Inside<'_>,
        offline: bool,
        argv: &mut Vec<String>,
        text: &dyn Fn(&Path) -> Result<String, String>,
    ) -> Result<(), String> {
        let mut add = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["--die-with-parent", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]);
        add(&["--cap-drop", "ALL"]);
        if offline {
            add(&["--unshare-net"]);
        }
        for place in READ_BY_PROGRAMS.iter().filter(|place| !place.starts_with("/proc") && !place.starts_with("/sys")) {
            match std::fs::read_link(place) {
                Ok(target) if Path::new(place).parent() == Some(Path::new("/")) => {
                    add(&["--symlink", &text(&target)?, place]);
                }
                _ => add(&["--ro-bind-try", place, place]),
            }
        }
        add(&["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
        for (path, is_writable) in &inside.contents.mounts {
            let path = text(path)?;
            add(&[if *is_writable { "--bind" } else { "--ro-bind" }, &path, &path]);
        }
        for (path, is_folder) in &inside.contents.masked {
            let path = text(path)?;
            match is_folder {
                true => add(&["--tmpfs", &path, "--remount-ro", &path]),
                false => add(&["--ro-bind", "/dev/null", &path]),
            }
        }
        add(&["--remount-ro", "/", "--chdir", &text(inside.cwd)?, "--"]);
        Ok(())
    }

    fn engine(
        &self,
        inside: &Inside<'_>,
        offline: bool,
        argv: &mut Vec<String>,
        variables: &mut Vec<(String, String)>,
        text: &dyn Fn(&Path) -> Result<String, String>,
    ) -> Result<(), String> {
        let mut add = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["run", "--rm", "--name", inside.name, "--read-only", "--tmpfs", "/tmp"]);
        for (label, value) in inside.labels {
            add(&["--label", &format!("{label}={value}")]);
        }
        // What it says is read here; a second copy would be kept without a bound. Whoever removes it has waited already.
        add(&["--log-driver", "none", "--stop-timeout", "0"]);
        add(&["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--entrypoint", ""]);
        if inside.has_input {
            add(&["--interactive"]);
        }
        if offline {
            add(&["--network", "none"]);
        }
        let [user, group] = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()];
        if self.kind == Kind::Podman && user != 0 {
            add(&["--userns", "keep-id"]);
        }
        add(&["--user", &format!("{user}:{group}"), "--workdir", &text(inside.cwd)?]);
        for (path, is_writable) in &inside.contents.mounts {
            let path = text(path)?;
            let access = if *is_writable { "" } else { ",readonly" };
            add(&["--mount", &format!("type=bind,src={path},dst={path}{access}")]);
        }
        for (path, is_folder) in &inside.contents.masked {
            // Not a file system in memory: Podman copies into one what it is to hide.
            let over = if *is_folder { text(&inside.contents.nothing)? } else { "/dev/null".to_owned() };
            add(&["--mount", &format!("type=bind,src={over},dst={},readonly", text(path)?)]);
        }
        let Resources { memory_bytes, cpu, pids } = inside.resources;
        if let Some(bytes) = memory_bytes {
            add(&["--memory", &bytes.to_string(), "--memory-swap", &bytes.to_string()]);
        }
        if let Some(cpu) = cpu {
            add(&["--cpus", &cpu.to_string()]);
        }
        add(&["--pids-limit", &pids.unwrap_or(PIDS).to_string()]);
        if let Some(home) = std::env::var_os("HOME").and_then(|home| home.into_string().ok()) {
            add(&["--env", &format!("HOME={home}")]);
        }
        for (name, value) in inside.variables {
            // Arguments can be read by everybody on the machine; a value goes there only where its name means
            // something to the client itself.
            if STEERING.iter().any(|prefix| name.to_uppercase().starts_with(prefix)) {
                add(&["--env", &format!("{name}={value}")]);
            } else {
                add(&["--env", name]);
                variables.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        add(&[&self.image]);
        Ok(())
    }
}

/// How the container of an attempt is called: by the run, which is the only one of its name, and the attempt. Engines
/// take few signs in names.
pub(crate) fn name(run: &str, stem: &str, epoch: u32) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c) { c } else { '_' };
    format!("raddle-{run}-{stem}-{epoch}").chars().map(plain).collect()
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Kind::Bubblewrap => "bwrap",
            Kind::Docker => "docker",
            Kind::Podman => "podman",
        }
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| {
        file.is_absolute() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
    })
}
