//! Tasks in containers of real engines: what they are granted and what not, how they end, and what is left of them when
//! somebody is killed. Podman and Docker each get a store of their own and an image made of one static program, so that
//! neither a registry nor anything of this machine's is touched.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::place::{Place, until};
use crate::processes::{self, children};

const IMAGE: &str = "localhost/raddle-test:1";
/// What the image's one program is called as.
const NAMES: &str = "sh cat echo sleep id env ls mkdir touch true dd grep wc test";

struct Engine {
    name: &'static str,
    variables: Vec<(&'static str, String)>,
    daemon: Option<Child>,
}

/// Runs a story with each engine that works here; tells of the others.
fn with_each(tell: fn(&Place, &Engine)) {
    for make in [podman, docker] {
        let mut place = Place::new();
        match make(&place) {
            Ok(engine) => {
                for (name, value) in &engine.variables {
                    place.variable(name, value);
                }
                // Where distributions put what engines call.
                place.look_in(Path::new("/usr/sbin"));
                let config = format!("[executors.container]\nruntime = {:?}\nimage = {IMAGE:?}\n", engine.name);
                place.file("raddle.toml", config);
                tell(&place, &engine);
                until("nothing is left in the engine", || engine.containers().is_empty());
            }
            Err(why) => {
                let _ = writeln!(std::io::stderr(), "SKIPPED: containers of an engine: {why}");
            }
        }
    }
}

fn podman(place: &Place) -> Result<Engine, String> {
    let podman = found("podman")?;
    let root = place.root().join("podman").display().to_string();
    fs::create_dir_all(&root).expect("a folder can be made");
    // Without CAP_SYS_RESOURCE nothing may raise the limits that are Podman's defaults.
    let mut text = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n".to_owned();
    text += &format!("[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\ntmp_dir = \"{root}/tmp\"\n");
    text += "lock_type = \"file\"\n";
    if found("runc").is_ok() {
        text += "runtime = \"runc\"\n";
    }
    let storage = format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{root}/graph\"\nrunroot = \"{root}/run\"\n");
    let [conf, storage_conf] = [("containers.conf", text), ("storage.conf", storage)].map(|(name, text)| {
        let path = format!("{root}/{name}");
        fs::write(&path, text).expect("a file can be written");
        path
    });
    let variables = vec![("CONTAINERS_CONF", conf), ("CONTAINERS_STORAGE_CONF", storage_conf)];
    Engine { name: "podman", variables, daemon: None }.with_image(place, &podman)
}

fn docker(place: &Place) -> Result<Engine, String> {
    let docker = found("docker")?;
    let daemon = found("dockerd")?;
    if !rustix::process::geteuid().is_root() {
        return Err("dockerd is for the superuser".to_owned());
    }
    let root = place.root().join("docker").display().to_string();
    fs::create_dir_all(&root).expect("a folder can be made");
    let log = fs::File::create(format!("{root}/log")).expect("a file can be made");
    let mut command = Command::new(daemon);
    for (option, value) in [
        ("host", format!("unix://{root}/docker.sock")),
        ("data-root", format!("{root}/data")),
        ("exec-root", format!("{root}/exec")),
        ("pidfile", format!("{root}/docker.pid")),
        ("bridge", "none".to_owned()),
        ("iptables", "false".to_owned()),
        ("ip6tables", "false".to_owned()),
        ("default-ulimit", "nofile=1024:1024".to_owned()),
    ] {
        command.arg(format!("--{option}={value}"));
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
    let mut daemon = command.spawn().map_err(|error| format!("dockerd cannot be started: {error}"))?;
    let variables = vec![("DOCKER_HOST", format!("unix://{root}/docker.sock"))];
    let mut status = None;
    until("dockerd listens or gives up", || {
        status = daemon.try_wait().expect("it is ours to wait for");
        status.is_some() || Path::new(&format!("{root}/docker.sock")).exists()
    });
    if let Some(status) = status {
        let said = fs::read_to_string(format!("{root}/log")).unwrap_or_default();
        return Err(format!("dockerd ended ({status}): {}", said.lines().last().unwrap_or_default()));
    }
    Engine { name: "docker", variables, daemon: Some(daemon) }.with_image(place, &docker)
}

impl Engine {
    /// Makes the image and tries it.
    fn with_image(self, place: &Place, program: &Path) -> Result<Engine, String> {
        let image = place.root().join("image");
        for folder in ["bin", "tmp", "proc", "sys", "dev", "etc"] {
            fs::create_dir_all(image.join(folder)).expect("a folder can be made");
        }
        fs::copy(busybox(place)?, image.join("bin/busybox")).map_err(|error| error.to_string())?;
        for name in NAMES.split(' ') {
            std::os::unix::fs::symlink("busybox", image.join("bin").join(name)).expect("a link can be made");
        }
        let archive = place.root().join("image.tar");
        let tar = Command::new("tar").arg("-C").arg(&image).arg("-cf").arg(&archive).arg(".").status();
        if !tar.is_ok_and(|status| status.success()) {
            return Err("tar fails".to_owned());
        }
        let shown = program.display();
        self.does(&["import", archive.to_str().expect("a plain name"), IMAGE])
            .map_err(|why| format!("{shown} makes no image: {why}"))?;
        let words = self
            .does(&["run", "--rm", "--network", "none", IMAGE, "echo", "works"])
            .map_err(|why| format!("{shown} does not work here: {why}"))?;
        if words.trim() == "works" { Ok(self) } else { Err(format!("{shown} said {words:?}")) }
    }

    /// A command of its client; what it says.
    fn does(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.name);
        command.args(words).envs(self.variables.iter().map(|(name, value)| (name, value)));
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        if output.status.success() { Ok(out) } else { Err(err.lines().next().unwrap_or_default().to_owned()) }
    }

    /// The ids of all containers of any run.
    fn containers(&self) -> Vec<String> {
        let found = self.does(&["ps", "--all", "--quiet", "--filter", "label=raddle.run"]).expect("the engine answers");
        found.lines().map(str::to_owned).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for id in self.does(&["ps", "--all", "--quiet"]).unwrap_or_default().lines() {
            let _ = self.does(&["rm", "--force", id]);
        }
        if let Some(mut daemon) = self.daemon.take() {
            // Asked, it takes its helpers with it.
            processes::signal(daemon.id().cast_signed(), Signal::TERM);
            let _ = daemon.wait();
        }
    }
}

fn found(program: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| format!("{program} is not installed here"))
}

/// A program that is a whole image: the machine's, when it needs no libraries, else the package's.
fn busybox(place: &Place) -> Result<PathBuf, String> {
    if let Ok(own) = found("busybox")
        && fs::read(&own).is_ok_and(|bytes| !bytes.windows(6).any(|part| part == b"ld.so\0" || part == b"/ld-li"))
    {
        return Ok(own);
    }
    let folder = place.root().join("busybox");
    fs::create_dir_all(&folder).expect("a folder can be made");
    let script = "apt-get -qq download busybox-static && dpkg-deb -x busybox-static*.deb .";
    let done = Command::new("sh").args(["-c", script]).current_dir(&folder).output();
    let program = folder.join("bin/busybox");
    if done.is_ok_and(|output| output.status.success()) && program.is_file() {
        return Ok(program);
    }
    Err("there is no busybox without libraries, and its package cannot be fetched".to_owned())
}

#[test]
fn a_task_in_a_container_has_what_it_was_granted() {
    with_each(|place, engine| {
        place.file("in", "text");
        place.file("secret", "hidden");
        place.file("vault/key", "hidden");
        place.file("out/fixed/old", "old");
        fs::write(place.root().join("home/key"), "hidden").expect("a file can be written");
        let home = place.root().join("home/key").display().to_string();
        let sees = format!(
            "set +e; cat in; cat secret vault/key {home} 2>/dev/null; ls /bin/busybox; ls /usr/bin/python3 /etc/shadow; \
             touch /x; echo t > /tmp/t && cat /tmp/t; echo made > out/made"
        );
        let who = "id -u; grep -c : /proc/net/dev; grep -E 'CapEff|NoNewPrivs' /proc/self/status; env";
        let lists = "set +e; echo n > out/new; echo n > not; echo n > out/fixed/old; cat out/fixed/old";
        let many = "set +e; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do sleep 2 & done; echo started";
        let processor = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us";
        let hog = "dd if=/dev/zero of=/dev/null bs=100M count=1";
        let root = place.work("").display().to_string();
        let root = root.trim_end_matches('/');
        let workflow = json!({
            "defaults": {"isolation": "container", "retry": {"max": 0}, "timeout": "100s"},
            "tasks": [
                {"id": "sees", "run": sees, "permissions": {"deny": ["./secret", "./vault"]}},
                {"id": "who", "run": who, "env": {"MINE": "a b"}},
                {"id": "lists", "run": lists, "permissions": {"paths": {"read": [format!("{root}/out/fixed/**"), "./in"], "write": ["./out/**"]}}},
                {"id": "json", "depends_on": ["who"], "run": "grep -q who $RADDLE_DEPS || true; echo '{\"n\": 7}' > $RADDLE_OUTPUT"},
                {"id": "many", "run": many, "resources": {"pids": 8}},
                {"id": "hog", "run": hog, "resources": {"memory": "32MB"}},
                {"id": "half", "run": processor, "resources": {"cpu": 0.5}},
                {"id": "late", "run": "echo up; while true; do sleep 1; done", "timeout": "3s"},
                {"id": "exit", "run": "echo told >&2; exit 3"},
            ],
        });
        let document = place.run(&workflow.to_string(), 1);
        let said = |id: &str| document["tasks"][id]["output"].as_str().unwrap_or_default().to_owned();
        let class = |id: &str| document["tasks"][id]["error"]["class"].clone();
        let name = engine.name;
        assert_eq!(
            said("sees").lines().collect::<Vec<_>>(),
            ["text/bin/busybox", "t"],
            "{name}: {}",
            document["tasks"]["sees"]
        );
        assert_eq!(place.text("out/made"), "made\n");
        let who = said("who");
        let own = format!("{}\n1\n", rustix::process::geteuid().as_raw());
        assert!(
            who.starts_with(&own) && who.contains("CapEff:\t0000000000000000") && who.contains("NoNewPrivs:\t1"),
            "{who}"
        );
        assert!(who.contains("MINE=a b") && who.contains("RADDLE_TASK_ID=who"), "{who}");
        assert!(
            !who.contains("CONTAINERS_CONF") && !who.contains("DOCKER_HOST") && !who.contains("RADDLE_HOME"),
            "{who}"
        );
        assert_eq!(
            (place.text("out/new"), place.text("out/fixed/old"), place.work("not").exists()),
            ("n\n".into(), "n\n".into(), false)
        );
        assert_eq!(said("lists"), "n", "lists add up");
        assert_eq!(document["tasks"]["json"]["output"], json!({"n": 7}));
        assert!(
            document["tasks"]["many"]["state"] != "completed" || !said("many").contains("started"),
            "{}",
            document["tasks"]["many"]
        );
        assert_eq!(
            (class("hog"), class("late"), class("exit")),
            (json!("oom"), json!("timeout"), json!("exit")),
            "{name}: {}",
            document["tasks"]
        );
        assert!(["50000 100000", "50000"].contains(&said("half").as_str()), "{}", document["tasks"]["half"]);
    });
}

#[test]
fn an_agent_in_a_container_gets_its_prompt_and_the_network_only_when_it_is_granted() {
    with_each(|place, engine| {
        let agent = "[clis.parrot]\ncommand = [\"sh\", \"-c\", \"printf 'told: '; cat; grep -c : /proc/net/dev\"]\n";
        let config = place.text("raddle.toml");
        place.file("raddle.toml", format!("{config}{agent}"));
        let workflow = "agents: { parrot: { cli: parrot } }
tasks: [{ id: t, agent: parrot, prompt: 'say it', isolation: container, retry: { max: 0 } }]
";
        place.file("wf.yaml", workflow);
        assert!(place.raddle(&["run", "wf.yaml"]).exits(6).err.contains("cannot reach its model"));
        place.file("raddle.toml", format!("{config}network = true\n{agent}"));
        if let Err(why) = engine.does(&["run", "--rm", IMAGE, "true"]) {
            let _ = writeln!(std::io::stderr(), "SKIPPED: a container of {} with a network: {why}", engine.name);
            return;
        }
        let document = place.run(workflow, 0);
        let said = document["tasks"]["t"]["output"].as_str().expect("a text");
        // A daemon without a bridge has nothing to grant.
        let interfaces = if engine.daemon.is_some() { "1" } else { "2" };
        assert!(said.starts_with("told: say it") && said.ends_with(interfaces), "{}: {said}", engine.name);
    });
}

#[test]
fn what_the_engine_refuses_is_told_as_its_own_failure() {
    with_each(|place, engine| {
        let config = place.text("raddle.toml").replace(IMAGE, "127.0.0.1:9/nothing-there:1");
        place.file("raddle.toml", config);
        let workflow = "tasks: [{ id: t, run: 'true', isolation: container, retry: { max: 0 } }]\n";
        let document = place.run(workflow, 1);
        let error = &document["tasks"]["t"]["error"];
        assert_eq!(error["class"], "start", "{}: {error}", engine.name);
        assert!(error["message"].as_str().is_some_and(|text| text.contains("nothing-there")), "{error}");
    });
}

/// A run whose task is in a container and says so.
fn at_work(place: &Place) -> crate::place::Live {
    let task = "echo up > up; while true; do sleep 0.1; done";
    let workflow = json!({"tasks": [
        {"id": "t", "run": task, "isolation": "container", "timeout": "300s", "on_doubt": "rerun"}]});
    let _ = fs::remove_file(place.work("up"));
    place.file("wf.yaml", workflow.to_string());
    let live = place.start(&["run", "wf.yaml"]);
    until("the task is at work", || !place.text("up").is_empty());
    live
}

#[test]
fn nothing_of_a_container_outlives_its_run() {
    with_each(|place, engine| {
        let beats = |place: &Place| processes::of_tasks(place.root()).len();
        let gone = |what: &str| {
            until(what, || beats(place) == 0 && engine.containers().is_empty());
        };
        // Stopped, it is gone when the run says so.
        let mut live = at_work(place);
        let id = place.ps()[0]["run"].as_str().expect("an id").to_owned();
        let label = format!("label=raddle.run={id}");
        let labelled = engine.does(&["ps", "--quiet", "--filter", &label]).expect("the engine answers");
        assert_eq!(labelled.lines().count(), 1, "{}: {labelled}", engine.name);
        place.raddle(&["stop", "last"]);
        live.child.wait().expect("it ends");
        assert_eq!((beats(place), engine.containers()), (0, Vec::new()), "{}", engine.name);

        // The engine killed, the warden sees to it; the warden killed, the front does.
        for victims in [&["engine"][..], &["engine", "warden"], &["warden"]] {
            let mut live = at_work(place);
            let warden = children(live.pid())[0];
            let engine_process = children(warden)[0];
            for victim in victims {
                processes::signal(if *victim == "engine" { engine_process } else { warden }, Signal::KILL);
            }
            live.child.wait().expect("the front ends");
            assert_eq!(beats(place), 0, "{}: {victims:?}", engine.name);
            gone("the container is gone");
            assert_eq!(shared_memory(place), Vec::<PathBuf>::new(), "{victims:?}");
        }

        // All three killed at once, nobody is left who could; the next one who looks does.
        for next in ["gc", "resume"] {
            let mut live = at_work(place);
            let warden = children(live.pid())[0];
            let engine_process = children(warden)[0];
            for pid in [live.pid(), warden, engine_process] {
                processes::signal(pid, Signal::STOP);
            }
            for pid in [live.pid(), warden, engine_process] {
                processes::signal(pid, Signal::KILL);
            }
            live.child.wait().expect("the front is gone");
            until("the engine is gone", || processes::has_ended(engine_process));
            assert_eq!(engine.containers().len(), 1, "{}: it has outlived them", engine.name);
            if next == "gc" {
                place.raddle(&["gc"]).exits(0);
                assert_eq!(engine.containers(), Vec::<String>::new(), "{}", engine.name);
            } else if !is_reaped(engine_process) {
                // The runtime takes its own dead processes for living ones, and `resume` begins nothing beside them.
                println!("SKIPPED: nobody reaps orphans here, so {} cannot end what it lost", engine.name);
                place.raddle(&["gc"]);
                return;
            } else {
                fs::remove_file(place.work("up")).expect("it was up");
                let mut live = place.start(&["resume", "last"]);
                until("the task is at work again", || !place.text("up").is_empty());
                assert_eq!(engine.containers().len(), 1, "{}", engine.name);
                place.raddle(&["stop", "last"]);
                live.child.wait().expect("it ends");
            }
            gone("everything is gone");
            assert_eq!(shared_memory(place), Vec::<PathBuf>::new(), "{next}");
        }
    });
}

/// Whether somebody asks after orphans: in a container without an init nobody does.
fn is_reaped(pid: i32) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !Path::new(&format!("/proc/{pid}")).exists()
    })
}

/// What runs of that place keep in memory.
fn shared_memory(place: &Place) -> Vec<PathBuf> {
    let ids: Vec<Value> = place.ps().iter().map(|row| row["run"].clone()).collect();
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| ids.iter().any(|id| path.to_string_lossy().contains(id.as_str().unwrap_or("?")))).collect()
}

#[test]
fn nothing_begins_beside_a_container_that_may_be_alive() {
    let mut place = Place::new();
    // An engine of which nobody knows what became of the container: the client dies, and removing fails.
    let at = place.root().display().to_string();
    let text = format!(
        "#!/bin/sh\ncase $1 in\nrun) echo begun >> {at}/begun; kill -9 $$ ;;\nrm) test -e {at}/answers ;;\nesac\n"
    );
    let program = PathBuf::from(place.program("engine/docker", &text));
    place.look_in(program.parent().expect("a folder"));
    place.file("raddle.toml", format!("[executors.container]\nruntime = \"docker\"\nimage = {IMAGE:?}\n"));
    place.file(
        "wf.yaml",
        "tasks: [{ id: a, isolation: container, run: work, retry: { max: 3, initial: 1ms, on: [signal, lost] } }]\n",
    );
    let begun = || fs::read_to_string(format!("{at}/begun")).unwrap_or_default();
    let document = place.raddle(&["run", "wf.yaml", "--json"]).exits(1).json();
    let error = &document["tasks"]["a"]["error"];
    assert_eq!(error["class"], "lost", "{document}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("may still be at work")), "{document}");
    assert_eq!(begun(), "begun\n");
    let told = place.raddle(&["retry", "last", "a"]).exits(7).err;
    assert!(told.contains("may still be alive"), "{told}");
    assert_eq!(begun(), "begun\n");
    fs::write(format!("{at}/answers"), "").expect("a file can be written");
    let document = place.raddle(&["retry", "last", "a", "--json"]).exits(1).json();
    assert_eq!(document["tasks"]["a"]["error"]["class"], "signal", "{document}");
}
