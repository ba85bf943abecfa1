//! Code tasks and tool calls through the real dispatcher, as a run performs them, without the engine around it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use raddle_engine::attempt::{AttemptKey, AttemptSpec, CodeWork, Report, ToolWork, Work};
use raddle_engine::ports::Dispatcher;
use raddle_executors::{LocalConfig, LocalDispatcher, Reach, ServerAddress, ServerCommand, ServerSettings};
use raddle_kernel::{Attempt, TaskIx};

use super::{Scratch, number};

/// A dispatcher with a folder to work in.
struct Hands {
    dispatcher: LocalDispatcher,
    run_dir: Arc<Path>,
    started: u32,
    _scratch: Scratch,
}

impl Hands {
    fn new(servers: &[(&str, ServerSettings)]) -> Result<Self, String> {
        let scratch = Scratch::new()?;
        let worker = super::process::raddle()?.to_string_lossy().into_owned();
        let config = LocalConfig {
            worker_argv: vec![worker, "__sandbox-worker".into()],
            servers: servers.iter().map(|(name, server)| ((*name).to_owned(), server.clone())).collect(),
            ..LocalConfig::default()
        };
        let dispatcher = LocalDispatcher::new(config).map_err(|e| e.to_string())?;
        Ok(Hands { dispatcher, run_dir: scratch.path().into(), started: 0, _scratch: scratch })
    }

    fn start(&mut self, work: Work) {
        self.dispatcher.start(AttemptSpec {
            key: AttemptKey { task: TaskIx(self.started), attempt: Attempt(1) },
            epoch: 1,
            task_id: "bench".into(),
            work,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            timeout: Duration::from_secs(300),
            idle: None,
            run_dir: Arc::clone(&self.run_dir),
            demands: Default::default(),
        });
        self.started += 1;
    }

    /// Waits until at least one attempt has ended; how many did.
    fn ended(&mut self, reports: &mut Vec<Report>) -> Result<u32, String> {
        self.dispatcher.wait(None, reports);
        let mut count = 0;
        for report in reports.drain(..) {
            if let Report::Ended(ended) = report {
                count += 1;
                ended.result.map_err(|failure| format!("{}: {}", failure.class.name(), failure.message))?;
            }
        }
        Ok(count)
    }

    fn one(&mut self, work: Work) -> Result<(), String> {
        self.start(work);
        let mut reports = Vec::new();
        while self.ended(&mut reports)? == 0 {}
        Ok(())
    }
}

fn code(snippet: &str, input: &str) -> Result<Work, String> {
    let script = std::fs::read_to_string(snippet).map_err(|e| format!("{snippet}: {e}"))?;
    let text = std::fs::read_to_string(input).map_err(|e| format!("{input}: {e}"))?;
    Ok(Work::Code(Box::new(CodeWork {
        // The harness' snippets are expressions whose value is the answer.
        code: format!("return (\n{script}\n)"),
        name: "snippet".into(),
        deps: "{}".into(),
        context: serde_json::json!({ "input": text }).to_string().into(),
        timeout: Duration::from_secs(60),
        memory_bytes: 256 << 20,
        allowed_read_paths: Vec::new(),
        fixed: None,
        tools: None,
    })))
}

/// A new process, a new worker, one evaluation.
pub fn sandbox(snippet: &str, input: &str) -> Result<String, String> {
    Hands::new(&[])?.one(code(snippet, input)?)?;
    Ok("{\"ok\":true}".into())
}

/// `calls` evaluations one after the other, each in a fresh interpreter of a running worker.
pub fn sandbox_warm(snippet: &str, input: &str, calls: &str) -> Result<String, String> {
    let (calls, work) = (number(calls)?, code(snippet, input)?);
    let mut hands = Hands::new(&[])?;
    hands.one(work.clone())?;
    let began = Instant::now();
    for _ in 0..calls {
        hands.one(work.clone())?;
    }
    let ms = began.elapsed().as_secs_f64() * 1e3;
    Ok(format!("{{\"calls\":{calls},\"ms_per_call\":{:.4}}}", ms / f64::from(calls.max(1))))
}

/// So many evaluations begun at once by a new dispatcher; how long until the last has ended.
pub fn sandbox_crowd(snippet: &str, input: &str, tasks: &str) -> Result<String, String> {
    let (tasks, work) = (number(tasks)?, code(snippet, input)?);
    let began = Instant::now();
    let mut hands = Hands::new(&[])?;
    (0..tasks).for_each(|_| hands.start(work.clone()));
    let (mut ended, mut reports) = (0, Vec::new());
    while ended < tasks {
        ended += hands.ended(&mut reports)?;
    }
    Ok(format!("{{\"tasks\":{tasks},\"ms\":{:.3}}}", began.elapsed().as_secs_f64() * 1e3))
}

/// `calls` calls of a tool of a stdio server (or of the one at a URL), `in_flight` at a time. The server's start is not part of the time.
pub fn mcp(calls: &str, in_flight: &str, tool: &str, arguments: &str, server: &[&str]) -> Result<String, String> {
    let (calls, in_flight) = (number(calls)?, number(in_flight)?.max(1));
    let arguments: serde_json::Value = serde_json::from_str(arguments).map_err(|e| format!("arguments: {e}"))?;
    let argv: Vec<String> = server.iter().map(|word| (*word).to_owned()).collect();
    let reach = match &argv[..] {
        [url] if url.starts_with("http") => Reach::Address(ServerAddress { url: url.clone(), headers: Vec::new() }),
        _ => Reach::Command(ServerCommand { argv, env: Vec::new(), cwd: PathBuf::from("/"), confinement: None }),
    };
    let mut hands = Hands::new(&[("bench", reach.into())])?;
    let work = Work::Tool(Box::new(ToolWork {
        server: "bench".into(),
        tool: tool.to_owned(),
        arguments,
        idempotency_key: "bench".into(),
    }));
    hands.one(work.clone())?;
    let (mut asked, mut answered, mut reports) = (0, 0, Vec::new());
    let began = Instant::now();
    while answered < calls {
        while asked < calls && asked - answered < in_flight {
            hands.start(work.clone());
            asked += 1;
        }
        answered += hands.ended(&mut reports)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!("{{\"calls\":{calls},\"run_s\":{seconds:.6},\"calls_per_s\":{:.1}}}", f64::from(calls) / seconds))
}
