//! Whether containers can be had here, and limited as is demanded: asked before a run, by starting the runtime. It does
//! not know tasks.

use std::process::Command;

use raddle_engine::attempt::Resources;

use super::{ContainerConfig, Kind, PATIENCE, Runtime};
use crate::brief;

/// What a runtime says of itself, so that nothing that it would only warn of is lost.
#[derive(Debug, PartialEq, Eq)]
struct Limits {
    memory: bool,
    cpu: bool,
    pids: bool,
}

/// Why no container can be had here, or none that is limited so; `None` when one can.
pub(crate) fn objection(config: &ContainerConfig, resources: &Resources) -> Option<String> {
    let runtime = match Runtime::choose(config) {
        Ok(runtime) => runtime,
        Err(why) => return Some(why),
    };
    let question: &[&str] = match runtime.kind {
        Kind::Bubblewrap => &["--unshare-ipc", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "true"],
        Kind::Docker => &["version", "--format", "{{.Server.Version}}"],
        Kind::Podman => &["version", "--format", "{{.Client.Version}}"],
    };
    if let Err(why) = ask(&runtime, question) {
        return Some(why);
    }
    if *resources == Resources::default() || !runtime.is_an_engine() {
        return None;
    }
    let limits = match runtime.kind {
        Kind::Docker => ask(&runtime, &["info", "--format", "{{.MemoryLimit}} {{.CPUCfsQuota}} {{.PidsLimit}}"])
            .map(|said| of_docker(&said)),
        _ => {
            let question = "{{.Host.CgroupsVersion}} {{.Host.Security.Rootless}} {{.Host.CgroupControllers}}";
            ask(&runtime, &["info", "--format", question]).map(|said| of_podman(&said))
        }
    };
    match limits {
        Err(why) => Some(why),
        Ok(limits) => limits.objection(resources).map(|what| {
            format!(
                "`resources` ({what}) cannot be limited in containers of {} here: no control group can be had; use a \
                 runtime of the superuser's, or control groups of version 2",
                runtime.program.display()
            )
        }),
    }
}

fn ask(runtime: &Runtime, question: &[&str]) -> Result<String, String> {
    let shown = runtime.program.display();
    match brief::call(Command::new(&runtime.program).args(question), PATIENCE) {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            let words = words.lines().next().unwrap_or("it does not say why");
            Err(format!("`isolation: container` cannot be provided: {shown} does not work here: {words}"))
        }
        Err(error) => Err(format!("`isolation: container` cannot be provided: {shown} cannot be asked: {error}")),
    }
}

impl Limits {
    fn objection(&self, resources: &Resources) -> Option<&'static str> {
        let lacking = [
            (resources.memory_bytes.is_some() && !self.memory, "memory"),
            (resources.cpu.is_some() && !self.cpu, "cpu"),
            (resources.pids.is_some() && !self.pids, "pids"),
        ];
        lacking.into_iter().find_map(|(lacks, name)| lacks.then_some(name))
    }
}

/// `true true false`.
fn of_docker(said: &str) -> Limits {
    let mut said = said.split_whitespace().map(|word| word == "true");
    let mut next = || said.next().unwrap_or(false);
    Limits { memory: next(), cpu: next(), pids: next() }
}

/// `v2 true [cpu memory pids]`. Without the superuser, limits of version 1 are warned of and ignored.
fn of_podman(said: &str) -> Limits {
    let words: Vec<&str> = said.split(|c: char| c.is_whitespace() || c == '[' || c == ']').collect();
    let is_able = words.first() == Some(&"v2") || words.get(1) == Some(&"false");
    let has = |name| is_able && words.contains(&name);
    Limits { memory: has("memory"), cpu: has("cpu"), pids: has("pids") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_would_only_warn_of_is_an_objection() {
        let all = Limits { memory: true, cpu: true, pids: true };
        assert_eq!(of_docker("true true true\n"), all);
        assert_eq!(of_podman("v1 false [cpuset cpu cpuacct memory pids]\n"), all);
        assert_eq!(of_podman("v2 true [memory pids]\n"), Limits { cpu: false, ..all });
        let none = of_podman("v1 true [cpu memory pids]");
        assert_eq!(none, of_docker(""));
        let memory = Resources { memory_bytes: Some(1), ..Resources::default() };
        assert_eq!((none.objection(&memory), none.objection(&Resources::default())), (Some("memory"), None));
    }
}
