//! Process tasks with real programs, the well-behaved and the others.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;

use std::time::{Duration, Instant};

use kit::{Bench, LONG, alive};
use raddle_engine::FailureClass;
use raddle_engine::attempt::{ProcessWork, RawOutput, StopCause, Work};

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn output_is_text_without_its_last_newline() {
    let mut bench = Bench::new();
    assert_eq!(bench.text("echo a; echo; echo b"), "a\n\nb");
    assert_eq!(bench.text(":"), "");
    let log = |name: &str| std::fs::read_to_string(bench.folder.path().join("logs").join(name));
    assert_eq!(log("t1.1.out").unwrap(), "a\n\nb\n");
    assert!(log("t1.1.err").is_err() && log("t2.1.out").is_err(), "no file without content");
}

#[test]
fn the_output_file_wins_over_stdout() {
    let mut bench = Bench::new();
    let spec = bench.shell(r#"echo talk; printf '{"n": 1}' > "$RADDLE_OUTPUT""#);
    assert_eq!(bench.run(spec), Ok(RawOutput::Json("{\"n\": 1}".into())));
    let spec = bench.shell("echo nonsense > $RADDLE_OUTPUT");
    assert_eq!(bench.run(spec).unwrap_err().0, FailureClass::Output);
    let spec = bench.shell("mkfifo $RADDLE_OUTPUT");
    assert_eq!(bench.run(spec).unwrap_err().0, FailureClass::Output);
    let spec = bench.shell("echo 1 > $RADDLE_OUTPUT; exit 4");
    assert_eq!(bench.run(spec).unwrap_err().0, FailureClass::Exit);
    let left: Vec<_> = std::fs::read_dir(bench.path().join("tmp")).unwrap().flatten().map(|e| e.file_name()).collect();
    // Where there is a memory-backed folder, the file for tasks without dependencies is there instead.
    assert!(left.iter().all(|name| name == "none.deps.json"), "{left:?}");
}

#[test]
fn dependencies_come_in_a_file() {
    let mut bench = Bench::new();
    assert_eq!(bench.text("cat $RADDLE_DEPS"), "{}");
    let argv = ["sh", "-c", "cat $RADDLE_DEPS"].map(String::from).to_vec();
    let spec = bench.spec(Work::Process(ProcessWork { argv, deps: Some("{\"a\":{\"output\":1}}".into()) }));
    assert_eq!(bench.run(spec), Ok(RawOutput::Text("{\"a\":{\"output\":1}}".into())));
}

#[test]
fn the_environment_is_what_was_said() {
    let mut bench = Bench::new();
    let mut spec = bench.argv(&["env"]);
    spec.env.push(("MINE".into(), "x=y z".into()));
    let Ok(RawOutput::Text(text)) = bench.run(spec) else { panic!("no text") };
    let names: Vec<&str> = text.lines().map(|line| line.split('=').next().unwrap()).collect();
    for name in &names {
        let known = ["PATH", "HOME", "LANG", "TERM", "TMPDIR", "MINE"].contains(name)
            || name.starts_with("LC_")
            || name.starts_with("RADDLE_");
        assert!(known, "{name}");
    }
    assert!(text.lines().any(|line| line == "MINE=x=y z") && names.contains(&"RADDLE_OUTPUT"));
}

#[test]
fn the_child_is_a_fresh_process() {
    let mut bench = Bench::new();
    assert_eq!(bench.text("cat; echo done"), "done", "stdin is at its end");
    let status = bench.text("cat /proc/self/status");
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        // Signals 32 and 33 belong to the C library, which does not let anybody change them.
        u64::from_str_radix(line.trim(), 16).unwrap() & !(0b11 << 31)
    };
    assert_eq!((mask("SigBlk:"), mask("SigIgn:")), (0, 0));
    assert_eq!(bench.text("ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 ", "the fourth is ls's own");
    assert_eq!(bench.text("pwd -P"), bench.path().canonicalize().unwrap().to_str().unwrap());
    assert_eq!(
        bench.text("ps -o sid= -p $$ | tr -d ' '; echo $$").lines().collect::<std::collections::HashSet<_>>().len(),
        1
    );
}

#[test]
fn ends_are_classified() {
    let mut bench = Bench::new();
    let spec = bench.shell("echo why >&2; exit 3");
    assert_eq!(bench.run(spec), Err((FailureClass::Exit, "exit status 3\nwhy".into())));
    let spec = bench.shell("printf half; kill -SEGV $$");
    let (class, message) = bench.run(spec).unwrap_err();
    assert!(class == FailureClass::Signal && message.contains("SIGSEGV"), "{message}");
}

#[test]
fn a_start_that_fails_says_why() {
    let mut bench = Bench::new();
    let script = bench.path().join("no-interpreter");
    std::fs::write(&script, "echo hello\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (argv, word) in [
        (vec!["no-such-program-here"], "PATH"),
        (vec!["/no/such/program"], "no such file"),
        (vec!["/etc/passwd"], "permission"),
        (vec!["./no-interpreter"], "#!"),
        (vec![], "empty"),
        (vec!["true", "a\0b"], "NUL"),
    ] {
        let spec = bench.argv(&argv);
        let (class, message) = bench.run(spec).unwrap_err();
        assert!(class == FailureClass::Start && message.contains(word), "{argv:?}: {message}");
    }
    let mut spec = bench.argv(&["true"]);
    spec.cwd = "/no/such/folder".into();
    assert!(bench.run(spec).unwrap_err().1.contains("/no/such/folder"));
    let mut spec = bench.argv(&["true"]);
    spec.env.push(("A=B".into(), "x".into()));
    assert_eq!(bench.run(spec).unwrap_err().0, FailureClass::Start);
    let long = "x".repeat(3 << 20);
    let spec = bench.argv(&["true", &long]);
    assert!(bench.run(spec).unwrap_err().1.contains("too long"));
}

#[test]
fn a_program_that_moves_is_found_again() {
    let mut bench = Bench::new();
    let here = bench.path().to_owned();
    let install = |folder: &str| {
        std::fs::create_dir_all(here.join(folder)).unwrap();
        std::fs::copy("/bin/true", here.join(folder).join("tool")).unwrap();
    };
    let path = format!("{0}/a:{0}/b:/bin:/usr/bin", here.display());
    let run = |bench: &mut Bench| {
        let mut spec = bench.argv(&["tool"]);
        spec.env.push(("PATH".into(), path.clone()));
        bench.run(spec)
    };
    assert!(run(&mut bench).is_err());
    install("a");
    assert!(run(&mut bench).is_ok());
    std::fs::remove_file(here.join("a/tool")).unwrap();
    install("b");
    assert!(run(&mut bench).is_ok());
}

#[test]
fn stop_ends_what_ignores_term() {
    let mut bench = Bench::new();
    let spec = bench.shell("trap '' TERM; sleep 1000 & echo $! > pid; echo $$ >> pid; while :; do sleep 1000; done");
    let key = bench.start(spec);
    bench.file("pid");
    let before = Instant::now();
    bench.stop(key, StopCause::Timeout, SHORT);
    let failure = bench.end_of(key).result.unwrap_err();
    assert_eq!(failure.class, FailureClass::Timeout);
    assert!(before.elapsed() >= SHORT && before.elapsed() < Duration::from_secs(5));
    for pid in bench.file("pid").lines() {
        assert!(!alive(pid));
    }
}

#[test]
fn stop_is_polite_first() {
    let mut bench = Bench::new();
    let spec = bench.shell("trap 'echo bye > said; exit 0' TERM; echo > ready; while :; do sleep 0.01; done");
    let key = bench.start(spec);
    bench.file("ready");
    bench.stop(key, StopCause::Cancelled, LONG);
    // Exit status 0, and yet it did not end of its own accord.
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Cancelled);
    assert_eq!(bench.file("said"), "bye");
}

#[test]
fn stop_at_once_after_the_start_and_after_the_end() {
    let mut bench = Bench::new();
    let spec = bench.shell("sleep 1000");
    let key = bench.start(spec);
    bench.stop(key, StopCause::Cancelled, LONG);
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Cancelled);

    let spec = bench.shell("echo $$ > pid; echo result");
    let key = bench.start(spec);
    let deadline = Instant::now() + LONG;
    // The dispatcher is not asked meanwhile, so it cannot know yet that the child has ended.
    while !std::fs::read_to_string(bench.path().join("pid")).is_ok_and(|pid| !pid.is_empty() && !alive(pid.trim())) {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    bench.stop(key, StopCause::Timeout, LONG);
    assert_eq!(bench.end_of(key).result, Ok(RawOutput::Text("result".into())));
    bench.stop(key, StopCause::Timeout, LONG);
}

#[test]
fn a_daemon_of_a_stopped_task_ends_with_it() {
    let mut bench = Bench::new();
    // Forks twice, in a session of its own, without the environment, and ignores TERM.
    let spec = bench.shell(
        "(setsid env -i sh -c \"trap '' TERM; echo \\$\\$ > daemon; while :; do sleep 1000; done\" >/dev/null 2>&1 &); sleep 1000",
    );
    let key = bench.start(spec);
    let daemon = bench.file("daemon");
    assert!(alive(&daemon));
    bench.stop(key, StopCause::Cancelled, SHORT);
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Cancelled);
    let deadline = Instant::now() + LONG;
    while alive(&daemon) {
        assert!(Instant::now() < deadline, "the daemon lives");
        bench.wait(Duration::from_millis(10));
    }
}

#[test]
fn leftovers_of_a_finished_task_end_with_it() {
    let mut bench = Bench::new();
    let before = Instant::now();
    let text = bench.text("sleep 1000 & echo $!; setsid sleep 1001 & echo $! ");
    assert!(before.elapsed() < Duration::from_secs(5), "a background child holds the pipe");
    assert_eq!(text.lines().count(), 2);
    for pid in text.lines() {
        assert!(!alive(pid), "{pid}");
    }
    // In a session of its own and deaf, known only by its environment.
    let text = bench.text("(setsid sh -c \"trap '' TERM; echo \\$\\$; exec sleep 1000\" & sleep 0.1)");
    assert!(!alive(&text), "{text}");
}

#[test]
fn a_flood_is_cut_and_a_big_output_is_not() {
    let mut bench = Bench::new();
    let spec = bench.argv(&["head", "-c", "50000000", "/dev/zero"]);
    let Ok(RawOutput::Text(text)) = bench.run(spec) else { panic!("no text") };
    assert_eq!(text.len(), 50_000_000);
    for command in ["head -c 100000000 /dev/zero", "exec cat /dev/zero"] {
        let spec = bench.shell(command);
        let (class, message) = bench.run(spec).unwrap_err();
        assert!(class == FailureClass::Output && message.contains("64 MB"), "{message}");
    }
    let spec = bench.shell("head -c 30000000 /dev/zero >&2; echo; echo last words >&2; exit 1");
    assert!(bench.run(spec).unwrap_err().1.ends_with("last words"));
}

#[test]
fn closed_pipes_do_not_end_a_task() {
    let mut bench = Bench::new();
    let spec = bench.shell("exec >/dev/null 2>&1; sleep 0.3; echo 7 > $RADDLE_OUTPUT");
    let before = Instant::now();
    assert_eq!(bench.run(spec), Ok(RawOutput::Json("7\n".into())));
    assert!(before.elapsed() >= Duration::from_millis(300));
}

#[test]
fn silence_has_its_limit() {
    let mut bench = Bench::new();
    let mut spec = bench.shell("for i in 1 2 3 4 5 6; do echo $i >&2; sleep 0.1; done; exec sleep 1000");
    spec.idle = Some(Duration::from_millis(300));
    let before = Instant::now();
    let (class, message) = bench.run(spec).unwrap_err();
    assert!(class == FailureClass::Idle && message.starts_with("no output for 300ms"), "{message}");
    assert!(before.elapsed() >= Duration::from_millis(800));
}

#[test]
fn the_last_line_is_shown_now_and_then() {
    let mut bench = Bench::new();
    bench.text("i=0; while [ $i -lt 60 ]; do printf '\\033[1mline %s\\033[0m\\n' $i; i=$((i+1)); sleep 0.01; done");
    assert!((2..=10).contains(&bench.progress.len()), "{:?}", bench.progress);
    assert!(bench.progress.iter().all(|line| line.starts_with("line ")));
}

#[test]
fn two_hundred_at_once() {
    let mut bench = Bench::new();
    let keys: Vec<_> = (0..200)
        .map(|i| {
            let spec = bench.shell(&format!("echo {i}; exit $(({i} % 2))"));
            bench.start(spec)
        })
        .collect();
    for (i, key) in keys.into_iter().enumerate() {
        let result = bench.end_of(key).result;
        match i % 2 {
            0 => assert_eq!(result, Ok(RawOutput::Text(i.to_string()))),
            _ => assert_eq!(result.unwrap_err().class, FailureClass::Exit),
        }
    }
}

#[test]
fn nothing_outlives_the_dispatcher() {
    let mut bench = Bench::new();
    let spec = bench
        .shell("trap '' TERM; (setsid sleep 1000 & echo $! > pids; echo $$ >> pids); while :; do sleep 1000; done");
    bench.start(spec);
    let pids = bench.file("pids");
    drop(bench);
    for pid in pids.lines() {
        assert!(!alive(pid), "{pid}");
    }
}
