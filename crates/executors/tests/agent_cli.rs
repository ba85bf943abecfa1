//! The adapter of `claude` against a program that takes its flags, when one is named: `RADDLE_TEST_CLAUDE` holds the
//! command line of the CLI or of a stand-in that obeys `PRINT`, `OUT` and `EXIT` lines of its prompt. Without the
//! variable there is nothing to run, and the tests say so.

#![expect(clippy::print_stderr, reason = "a test that did not run says so")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AgentWork, RawOutput};
use raddle_executors::agent::{Adapters, CliConfig, Exit, Finished, Slot};

fn run(mut work: AgentWork) -> Option<Finished> {
    let Ok(program) = std::env::var("RADDLE_TEST_CLAUDE") else {
        eprintln!("skipped: RADDLE_TEST_CLAUDE names no program");
        return None;
    };
    work.cli = "claude".into();
    let command = program.split_whitespace().map(str::to_owned).collect();
    let config = CliConfig { command: Some(command), ..CliConfig::default() };
    let adapters = Adapters::new(&BTreeMap::from([("claude".to_owned(), config)])).expect("a configuration");
    let adapter = adapters.get("claude").expect("built in");
    let mut command = adapter.command(&work).expect("a command");
    let folder = tempfile::tempdir().expect("a folder");
    for file in &command.files {
        let path = folder.path().join(file.suffix);
        std::fs::write(&path, &file.bytes).expect("a file");
        match file.place {
            Slot::Argument(at) => command.argv[at] = path.to_string_lossy().into_owned(),
            Slot::Variable(name) => command.env.push((name.to_owned(), path.to_string_lossy().into_owned())),
        }
    }
    let mut child = Command::new(&command.argv[0])
        .args(&command.argv[1..])
        .envs(command.env)
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || _ = stdin.write_all(&command.stdin));
    let mut stream = adapter.stream(&work);
    let mut stdout = child.stdout.take().expect("piped");
    let mut buffer = [0; 4096];
    while let Ok(n) = stdout.read(&mut buffer) {
        if n == 0 {
            break;
        }
        stream.feed(&buffer[..n]);
    }
    let mut stderr = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("text");
    writer.join().expect("stdin was written");
    let status = child.wait().expect("it ends");
    let exit = match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    };
    Some(stream.finish(exit, &stderr))
}

fn work(prompt: &str) -> AgentWork {
    AgentWork {
        cli: String::new(),
        prompt: prompt.into(),
        model: None,
        system_prompt: None,
        tools: None,
        schema: None,
        conversation: Default::default(),
        begins_foreign: false,
    }
}

#[test]
fn every_flag_is_accepted_and_the_answer_comes_back() {
    let full = AgentWork {
        model: Some("sonnet".into()),
        system_prompt: Some("be brief\n".repeat(20_000)),
        tools: Some(vec!["Read".into(), "Bash(git *)".into()]),
        schema: Some(serde_json::json!({"type": "object"})),
        ..work("OUT {\"n\": 4}")
    };
    let Some(finished) = run(full) else { return };
    assert_eq!(finished.result, Ok(RawOutput::Json("{\"n\": 4}".into())));
    assert!(finished.usage.is_some() && finished.session.is_some());
}

#[test]
fn a_long_prompt_arrives_and_text_comes_back() {
    let Some(finished) = run(work(&format!("-p\n{}\nPRINT fine ünï", "x".repeat(300_000)))) else { return };
    assert_eq!(finished.result, Ok(RawOutput::Text("fine ünï".into())));
}

#[test]
fn a_bad_end_is_no_answer() {
    for (prompt, class) in [
        ("PRINT fine\nEXIT 1", FailureClass::Exit),
        ("RAW gibberish", FailureClass::Output),
        ("CRASH", FailureClass::Signal),
        ("FAIL no", FailureClass::Exit),
        ("ISERR error_max_turns", FailureClass::TurnLimit),
        ("APIERR 401 Invalid API key", FailureClass::Auth),
    ] {
        let Some(finished) = run(work(prompt)) else { return };
        assert_eq!(finished.result.expect_err("it must fail").class, class, "{prompt}");
    }
}
