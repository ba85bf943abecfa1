//! The life of worker processes.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use raddle_sandbox::client::Worker;
use raddle_sandbox::{Broker, Config, Decoder, FailureKind, Reply, Request, support};
use serde_json::json;

use crate::{Sandbox, argv, example};

#[test]
fn one_worker_serves_many_calls() {
    let mut sandbox = Sandbox::default();
    let pid = sandbox.worker().id();
    for i in 0..50 {
        assert_eq!(sandbox.value(&format!("return {i} * 2")), json!(i * 2));
    }
    assert_eq!(sandbox.worker().id(), pid);
}

#[test]
fn a_sealed_worker_has_nothing_but_its_pipes() {
    let mut sandbox = Sandbox::default();
    sandbox.value("return 1");
    let status = std::fs::read_to_string(format!("/proc/{}/status", sandbox.worker().id())).unwrap();
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("Seccomp_filters:"), "2");
    assert_eq!(field("Threads:"), "1");
    if let Ok(fds) = std::fs::read_dir(format!("/proc/{}/fd", sandbox.worker().id())) {
        assert_eq!(fds.count(), 3);
    }
    assert!(support().seccomp);
}

#[test]
fn a_worker_that_met_a_limit_is_not_used_again() {
    let mut sandbox = Sandbox::default();
    for (code, last) in [
        ("return 1", false),
        ("throw 1", false),
        ("return {f() {}}", false),
        ("try { await readTextFile('/etc/passwd') } catch {}", false),
        ("try { new Uint8Array(1 << 30) } catch { return 'survived' }", true),
    ] {
        // The outcome does not matter here.
        let _ = sandbox.run(code);
        assert_eq!(sandbox.worker().is_spent(), last, "{code}");
    }
    assert_eq!(sandbox.value("return 1"), json!(1));
}

/// What native code in a sealed process gets, should the interpreter be broken open.
#[test]
fn the_kernel_holds_a_worker_that_was_broken_open() {
    const DENIED: &str = "exit status: 1";
    const KILLED: &str = "signal: 31 (SIGSYS)";
    let program = example("sandbox_probe");
    for (attempt, wanted) in [
        ("nothing", "exit status: 0"),
        ("open", DENIED),
        ("create", DENIED),
        ("unlink", DENIED),
        ("executable-memory", DENIED),
        ("signal-parent", DENIED),
        ("raise-limit", DENIED),
        ("chdir", DENIED),
        ("duplicate", DENIED),
        ("socket", KILLED),
        ("execute", KILLED),
        ("fork", KILLED),
        ("trace-parent", KILLED),
        ("io-uring", KILLED),
        ("foreign-abi", KILLED),
    ] {
        let mut command = Command::new(&program);
        let status = command.arg(attempt).env_clear().stderr(Stdio::null()).status().unwrap();
        assert!(status.to_string().starts_with(wanted), "{attempt}: {status}");
    }
}

#[test]
fn a_worker_refuses_an_environment() {
    let argv = argv(Config::default());
    let mut child = Command::new(&argv[0])
        .env_clear()
        .env("SECRET", "s3cr3t")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    let mut decoder = Decoder::default();
    decoder.feed(&said);
    let Ok(Some(Reply::Refused { reason })) = decoder.next_reply() else { panic!("{said:?}") };
    assert!(reason.contains("environment"), "{reason}");
    assert_eq!(child.wait().unwrap().code(), Some(raddle_sandbox::exit::REFUSED));
}

#[test]
fn a_killed_worker_is_told() {
    let mut worker = Worker::spawn(&argv(Config::default())).unwrap();
    let broker = Broker::new(std::path::Path::new("/"), &[]);
    let pid = rustix::process::Pid::from_raw(worker.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let request = Request {
        id: 1,
        name: "t",
        code: "return 1",
        deps: "{}",
        context: "{}",
        tools: "",
        fixed: None,
        timeout: Duration::from_secs(5),
    };
    let outcome = worker.call(&request, &broker);
    assert_eq!(outcome.result.unwrap_err().0, FailureKind::Oom);
    assert!(worker.is_spent());
}

#[test]
fn a_worker_ends_with_its_stdin() {
    let argv = argv(Config::default());
    let mut child = Command::new(&argv[0]).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
