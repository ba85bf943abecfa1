//! Kills each of the three processes and looks who is left. This binary is both the test and, with an argument, the
//! program under test: the warden needs a `main` of its own.
#![expect(clippy::print_stdout, reason = "a test without a harness, and its subject, speak on stdout")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use raddle_engine::attempt::{AttemptKey, AttemptSpec, ControlRequest, ProcessWork, Report, StopKind, Work};
use raddle_engine::ports::Dispatcher;
use raddle_engine::{Attempt, TaskIx};
use raddle_executors::warden::{self, Attachment, Role};
use raddle_executors::{LocalConfig, LocalDispatcher, control};

const LONG: Duration = Duration::from_secs(10);

/// A daemon that has forked twice, has a session of its own, is deaf and has lost its environment; another child; and
/// the shell itself.
const SCRIPT: &str = r#"
    trap '' TERM INT HUP
    (setsid env -i sh -c "trap '' TERM INT HUP; echo \$\$ >> pids; while :; do sleep 1000; done" >/dev/null 2>&1 &)
    sleep 1000 & echo $! >> pids
    echo $$ >> pids
    while :; do sleep 1000; done
"#;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [subject, folder, how] = &arguments[..]
        && subject == "subject"
    {
        return self::subject(Path::new(folder), how);
    }
    // Whoever runs the tests in the background has made them deaf for Ctrl-C, and children inherit that.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: changes how this process takes a signal.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    for victim in ["front", "warden", "engine"] {
        whoever_is_killed_nobody_is_left(victim);
        println!("killed {victim}: ok");
    }
    exit_codes_and_signals_pass_through();
    println!("exit codes and signals: ok");
    a_detached_engine_goes_on();
    println!("detached: ok");
    entering_is_cheap();
}

fn subject(folder: &Path, how: &str) {
    let attachment = if how == "detached" { Attachment::Detached } else { Attachment::Attached };
    let started = Instant::now();
    let mut leash = match warden::enter(attachment).unwrap() {
        Role::Engine(leash) => leash,
        Role::Caller(mut report) => {
            let mut text = String::new();
            report.read_to_string(&mut text).unwrap();
            print!("{text}");
            return;
        }
    };
    let entered = started.elapsed();
    match how {
        "time" => return println!("{}", entered.as_micros()),
        "exit" => std::process::exit(42),
        _ => {}
    }
    leash.hold(folder).unwrap();
    let config = LocalConfig { signals: true, ..LocalConfig::default() };
    let mut dispatcher = LocalDispatcher::new(config).unwrap();
    dispatcher.listen(folder);
    let own = std::process::id();
    let parent = rustix::process::getppid().unwrap().as_raw_nonzero();
    let mut out: Box<dyn Write> = match leash.take_report() {
        Some(report) => Box::new(report),
        None => Box::new(std::io::stdout()),
    };
    dispatcher.start(AttemptSpec {
        key: AttemptKey { task: TaskIx(0), attempt: Attempt(1) },
        epoch: 1,
        task_id: "t".into(),
        work: Work::Process(ProcessWork { argv: ["sh", "-c", SCRIPT].map(String::from).to_vec(), deps: None }),
        env: Vec::new(),
        cwd: folder.to_owned(),
        timeout: LONG,
        idle: None,
        run_dir: Arc::from(folder),
        demands: Default::default(),
    });
    while std::fs::read_to_string(folder.join("pids")).unwrap_or_default().lines().count() < 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    writeln!(out, "{parent} {own}").unwrap();
    drop(out);
    let mut reports = Vec::new();
    loop {
        dispatcher.wait(None, &mut reports);
        for report in reports.drain(..) {
            if let Report::Control(ControlRequest::Stop(kind)) = report {
                drop(dispatcher);
                std::process::exit(match kind {
                    StopKind::Cancel => 7,
                    StopKind::Interrupt => 130,
                    StopKind::Terminate => 143,
                });
            }
        }
    }
}

struct Running {
    folder: tempfile::TempDir,
    front: Child,
    warden: String,
    engine: String,
}

fn start(how: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut front = Command::new(std::env::current_exe().unwrap())
        .args(["subject", folder.path().to_str().unwrap(), how])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(front.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (warden, engine) = line.trim().split_once(' ').unwrap();
    Running { warden: warden.to_owned(), engine: engine.to_owned(), folder, front }
}

impl Running {
    fn everybody(&self) -> Vec<String> {
        let pids = std::fs::read_to_string(self.folder.path().join("pids")).unwrap();
        let mut all: Vec<String> = pids.lines().map(str::to_owned).collect();
        assert_eq!(all.len(), 3);
        all.extend([self.warden.clone(), self.engine.clone()]);
        assert!(all.iter().all(|pid| alive(pid)), "{all:?}");
        all
    }
}

fn whoever_is_killed_nobody_is_left(victim: &str) {
    let mut running = start("attached");
    let all = running.everybody();
    let lock = running.folder.path();
    assert!(!warden::wait_gone(lock, Duration::from_millis(5)).unwrap(), "the lock is held");
    let pid = match victim {
        "front" => running.front.id().to_string(),
        "warden" => running.warden.clone(),
        _ => running.engine.clone(),
    };
    kill("KILL", &pid);
    assert!(warden::wait_gone(lock, LONG).unwrap());
    if victim != "warden" {
        // The lock says that nobody is left; without the warden it is released too early.
        let engine_and_children = all.iter().filter(|pid| **pid != running.warden);
        assert!(engine_and_children.into_iter().all(|pid| !alive(pid)), "{victim}");
    }
    nobody_of(&all);
    let status = running.front.wait().unwrap();
    match victim {
        "front" => assert_eq!(status.code(), None),
        _ => assert_eq!(status.code(), Some(137)),
    }
}

fn exit_codes_and_signals_pass_through() {
    let folder = tempfile::tempdir().unwrap();
    let run = |how: &str| {
        Command::new(std::env::current_exe().unwrap())
            .args(["subject", folder.path().to_str().unwrap(), how])
            .output()
            .unwrap()
    };
    assert_eq!(run("exit").status.code(), Some(42));
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 143)] {
        let mut running = start("attached");
        let all = running.everybody();
        kill(signal, &running.front.id().to_string());
        assert_eq!(running.front.wait().unwrap().code(), Some(code), "{signal}");
        nobody_of(&all);
    }
    let mut running = start("attached");
    let all = running.everybody();
    // The socket is made a moment after the start.
    let asked = std::time::Instant::now();
    while let Err(error) = control::request(running.folder.path(), &control::Request::Stop) {
        assert!(asked.elapsed() < LONG, "nobody listens: {error}");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(running.front.wait().unwrap().code(), Some(7));
    nobody_of(&all);
    assert!(control::request(running.folder.path(), &control::Request::Stop).is_err(), "nobody listens any more");
}

fn a_detached_engine_goes_on() {
    let mut running = start("detached");
    assert!(running.front.wait().unwrap().success());
    let all = running.everybody();
    kill("KILL", &running.engine);
    nobody_of(&all);
}

fn entering_is_cheap() {
    let mut micros: Vec<u64> = (0..20)
        .map(|_| {
            let folder = tempfile::tempdir().unwrap();
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["subject", folder.path().to_str().unwrap(), "time"])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
        })
        .collect();
    micros.sort_unstable();
    println!("entering took {} us in the median", micros[micros.len() / 2]);
    assert!(micros[0] < 20_000, "{micros:?}");
}

fn nobody_of(all: &[String]) {
    let deadline = Instant::now() + LONG;
    while let Some(pid) = all.iter().find(|pid| alive(pid)) {
        assert!(Instant::now() < deadline, "{pid} lives");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args(["-s", signal, pid]).status().unwrap().success());
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !matches!(rest.trim_start().chars().next(), None | Some('Z' | 'X')))
}
