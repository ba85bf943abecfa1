//! What tasks can still do when they are held to something, limits on resources, and containers without an engine. What
//! they cannot do is in `escapes`; containers of engines are tried end to end.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and says what it cannot try")]

mod kit;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use kit::{Bench, LONG, alive};
use raddle_engine::FailureClass;
use raddle_engine::attempt::{
    AttemptSpec, Confinement, Demands, Isolation, Network, ProcessWork, RawOutput, Resources, StopCause, Work,
};
use raddle_executors::{ContainerConfig, LocalConfig, objection};

/// Whether the machine can meet the demand; says so when it cannot.
fn able(what: &str, demands: &Demands, containers: &ContainerConfig) -> bool {
    let why = objection(demands, containers);
    if let Some(why) = &why {
        eprintln!("SKIPPED: {what}: {why}");
    }
    why.is_none()
}

fn narrow(bench: &Bench) -> Arc<Confinement> {
    std::fs::create_dir_all(bench.path().join("w")).unwrap();
    let w = format!("{}/w/**", bench.path().display());
    Arc::new(Confinement {
        read: Some(vec![w.clone()]),
        write: Some(vec![w]),
        deny: Vec::new(),
        network: Network::None,
    })
}

fn held(bench: &mut Bench, script: &str) -> AttemptSpec {
    let confinement = narrow(bench);
    let mut spec = bench.shell(script);
    spec.cwd = bench.path().join("w");
    spec.demands.confinement = Some(confinement);
    spec
}

#[test]
fn a_confined_task_can_work() {
    let mut bench = Bench::new();
    let demands = Demands { confinement: Some(narrow(&bench)), ..Demands::default() };
    if !able("confined tasks", &demands, &ContainerConfig::default()) {
        return;
    }
    // Its output, its dependencies, temporary files, its folder, programs, pipes, devices.
    let script = r#"
        f=$(mktemp); echo 1 > $f; test "$(cat $f)" = 1
        cat $RADDLE_DEPS | grep '"a"' > deps
        mkdir -p deep/er; mv deps deep/er/; ln -s deep l; test -s l/er/deps
        git init -q r; cd r; git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x; cd ..
        chmod 600 l/er/deps; touch -d 2001-01-01 l/er/deps; rm -r r
        echo ignored > /dev/null; head -c 4 /dev/urandom | wc -c
        printf '{"n": 1}' > $RADDLE_OUTPUT.new; mv $RADDLE_OUTPUT.new $RADDLE_OUTPUT"#;
    let argv = ["sh", "-eu", "-c", script].map(String::from).to_vec();
    let confinement = narrow(&bench);
    let mut spec = bench.spec(Work::Process(ProcessWork { argv, deps: Some("{\"a\":{\"output\":1}}".into()) }));
    spec.cwd = bench.path().join("w");
    spec.demands.confinement = Some(confinement);
    assert_eq!(bench.run(spec), Ok(RawOutput::Json("{\"n\": 1}".into())));
    assert!(std::fs::read_dir(bench.path().join("tmp")).unwrap().flatten().all(|e| !e.path().ends_with(".own")));
    for program in [
        "python3 -c 'import ssl, json, subprocess; print(subprocess.run([\"echo\", \"ok\"]).returncode)'",
        "node -e 'console.log(require(\"child_process\").execSync(\"echo ok\").toString())'",
    ] {
        let name = program.split(' ').next().unwrap();
        if Command::new(name).arg("--version").output().is_ok() {
            let spec = held(&mut bench, program);
            let said = bench.run(spec);
            assert!(matches!(&said, Ok(RawOutput::Text(text)) if text.contains("ok")), "{name}: {said:?}");
        }
    }
}

#[test]
fn what_is_made_although_denied_is_found_and_told() {
    let mut bench = Bench::new();
    let mut spec = bench.shell("echo x > later.pem; echo y > allowed");
    let deny = vec![format!("{}/*.pem", bench.path().display())];
    spec.demands.confinement = Some(Arc::new(Confinement { deny, ..Confinement::default() }));
    if !able("denies", &spec.demands, &ContainerConfig::default()) {
        return;
    }
    let (class, message) = bench.run(spec).unwrap_err();
    assert_eq!(class, FailureClass::Permission);
    assert!(message.contains("later.pem"), "{message}");
    assert_eq!(bench.denied, [format!("write {}/later.pem", bench.path().display())]);
}

#[test]
fn what_cannot_be_held_is_refused_before_anything_starts() {
    let mut bench = Bench::new();
    let root = bench.path().display().to_string();
    std::fs::create_dir_all(bench.path().join("w")).unwrap();
    std::fs::write(bench.path().join("w/key"), "k").unwrap();
    std::fs::hard_link(bench.path().join("w/key"), bench.path().join("w/other")).unwrap();
    std::os::unix::fs::symlink("/etc", bench.path().join("w/link")).unwrap();
    let everything = Confinement::default();
    for (confinement, word) in [
        (Confinement { read: Some(vec![format!("{root}/w")]), ..everything.clone() }, "is a folder"),
        (Confinement { read: Some(vec![format!("{root}/w/link/**")]), ..everything.clone() }, "symbolic link"),
        (Confinement { read: Some(vec![format!("{root}/w/**/x")]), ..everything.clone() }, "cannot be held to"),
        (Confinement { write: Some(vec!["w/**".into()]), ..everything.clone() }, "cannot be held to"),
        (Confinement { deny: vec![format!("{root}/w/key")], ..everything.clone() }, "hard link"),
        (Confinement { deny: vec![format!("{root}/**")], ..everything.clone() }, "the task works in"),
    ] {
        let mut spec = bench.shell("echo started > started");
        spec.demands.confinement = Some(Arc::new(confinement));
        let (class, message) = bench.run(spec).unwrap_err();
        assert_eq!(class, FailureClass::Permission, "{message}");
        assert!(message.contains(word) || message.contains("cannot be enforced"), "{word}: {message}");
    }
    assert!(!bench.path().join("started").exists());
}

#[test]
fn a_limit_holds_all_processes_of_a_task_and_no_other() {
    let mut bench = Bench::new();
    let resources = Resources { memory_bytes: Some(64 << 20), cpu: Some(0.5), pids: Some(24) };
    let demands = Demands { resources, ..Demands::default() };
    if !able("limits on resources", &demands, &ContainerConfig::default()) {
        return;
    }
    let bomb = "python3 -c 'x = bytearray(200 << 20); print(len(x))'";
    let neighbour = bench.shell("sleep 0.3; echo fine");
    let neighbour = bench.start(neighbour);
    let mut spec = bench.shell(bomb);
    spec.demands = demands.clone();
    let (class, message) = bench.run(spec).unwrap_err();
    assert_eq!(class, FailureClass::Oom, "{message}");
    assert!(message.contains("64 MB"), "{message}");
    assert_eq!(bench.end_of(neighbour).result, Ok(RawOutput::Text("fine".into())));
    let control = bench.shell(bomb);
    assert!(bench.run(control).is_ok(), "without a limit there is room");
    // Together they are too many, whoever starts them.
    let mut spec =
        bench.shell("n=0; for i in $(seq 60); do (sleep 5 &) 2>/dev/null || break; n=$((n+1)); done; echo $n");
    spec.demands = demands.clone();
    let said = bench.run(spec);
    assert!(!matches!(&said, Ok(RawOutput::Text(text)) if text == "60"), "{said:?}");
    let mut spec = bench.shell("echo held");
    spec.demands = demands;
    spec.demands.confinement = Some(Arc::new(Confinement { network: Network::None, ..Confinement::default() }));
    assert_eq!(bench.run(spec), Ok(RawOutput::Text("held".into())));
}

fn contained(bench: &mut Bench, script: &str) -> AttemptSpec {
    let mut spec = bench.shell(script);
    spec.cwd = bench.path().join("w");
    spec.demands.isolation = Isolation::Container;
    spec
}

fn in_containers(name: &str, containers: ContainerConfig) {
    let demands = Demands { isolation: Isolation::Container, ..Demands::default() };
    if !able(&format!("containers of {name}"), &demands, &containers) {
        return;
    }
    let mut bench = Bench::with(LocalConfig { containers, ..LocalConfig::default() });
    std::fs::create_dir_all(bench.path().join("w")).unwrap();
    std::fs::write(bench.path().join("secret"), "of the host").unwrap();
    std::fs::write(bench.path().join("w/.env"), "secret").unwrap();
    std::fs::write(bench.path().join("w/given"), "given").unwrap();

    let mut spec = contained(
        &mut bench,
        r#"
        cat given > taken; test ! -e ../secret; test ! -e /root/.profile -a ! -e /etc/shadow -o ! -s /etc/shadow
        test "$MINE" = "a b"; test $(ls -d /proc/[0-9]* | wc -l) -lt 10
        test "$(grep -c : /proc/net/dev)" = 1
        echo 7 > $RADDLE_OUTPUT"#,
    );
    spec.env.push(("MINE".into(), "a b".into()));
    assert_eq!(bench.run(spec), Ok(RawOutput::Json("7\n".into())), "{name}");
    assert_eq!(std::fs::read_to_string(bench.path().join("w/taken")).unwrap(), "given");

    let spec = contained(&mut bench, "echo told; exit 3");
    assert_eq!(bench.run(spec).unwrap_err().0, FailureClass::Exit, "{name}");

    let mut spec = contained(&mut bench, "cat given; cat .env; echo x > given; echo y > new");
    let w = format!("{}/w", bench.path().display());
    let read = Some(vec![format!("{w}/**")]);
    let confinement =
        Confinement { read, write: Some(Vec::new()), deny: vec![format!("{w}/.env")], network: Network::None };
    spec.demands.confinement = Some(Arc::new(confinement));
    let (_, message) = bench.run(spec).unwrap_err();
    assert!(!message.contains("secret"), "{name}: {message}");
    assert_eq!(std::fs::read_to_string(bench.path().join("w/given")).unwrap(), "given");
    assert!(!bench.path().join("w/new").exists());

    // Ended from outside, nothing of it is left.
    let spec = contained(&mut bench, "trap '' TERM; echo up > up; while :; do sleep 0.05; done");
    let key = bench.start(spec);
    bench.file("w/up");
    bench.stop(key, StopCause::Timeout, Duration::from_millis(100));
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Timeout, "{name}");
    drop(bench);
    let left = Command::new("pgrep").args(["-f", "while :; do sleep 0.05"]).output().unwrap();
    let left = String::from_utf8(left.stdout).unwrap();
    assert!(left.lines().all(|pid| !alive(pid)), "{name}: {left}");
    let _ = LONG;
}

#[test]
fn containers_of_bubblewrap() {
    in_containers("bubblewrap", ContainerConfig { runtime: Some("bwrap".into()), ..ContainerConfig::default() });
}
