//! Between code that uses tools and the servers that have them: finds the tools for an intent before the code starts,
//! and passes its calls on, each one only when it is granted. It knows neither the protocol of the servers nor that of
//! the workers.
//!
//! ```text
//!   begin ── intent? ──▶ servers: ask_for_tools ── Listed ──▶ search ──▶ workers: call
//!   Question ── granted? ──▶ servers: call_for_code ── Called ──▶ workers: answer
//!          └── no ──▶ Denied: to the code, and to the journal
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{
    AttemptKey, AttemptSpec, CodeTools, CodeWork, Ended, Failure, RawOutput, Report, ToolWork,
};
use raddle_sandbox::ToolAnswer;
use raddle_sandbox::protocol::MAX_TOOL_CALLS;
use serde_json::{Value, json};

use crate::process::{Log, last_line};
use crate::rundir::RunDir;
use crate::servers::{Answer, Servers};
use crate::tool_search::{Described, Index};
use crate::verdict::{self, Cut, Limits};
use crate::workers::{Question, Workers};

/// So many calls of one attempt are under way at once; the others wait.
const AT_ONCE: u32 = 16;
/// Nor may more than this of arguments wait for room, in bytes: the worker has forgotten them, so they are ours to hold.
const WAITING_BYTES: usize = 64 << 20;
/// More tools than this are not listed for an intent.
const LISTED: usize = 64;
/// Nor more than this of JSON text.
const LISTED_BYTES: usize = 1 << 20;

/// All attempts of code that use tools.
#[derive(Default)]
pub(crate) struct CodeToolDesk {
    attempts: HashMap<AttemptKey, User>,
    /// The index of the last search: the tasks of a run mostly search the same tools.
    index: Option<(Vec<(String, usize)>, Index)>,
}

struct User {
    tools: CodeTools,
    env: Vec<(String, String)>,
    epoch: u32,
    limits: Limits,
    run_dir: Rc<RunDir>,
    log: Log,
    stem: String,
    stage: Stage,
}

enum Stage {
    /// These servers have not told their tools yet.
    Searching { missing: Vec<String>, spec: Box<AttemptSpec>, work: Box<CodeWork> },
    /// The code runs.
    Running { open: BTreeMap<u32, String>, waiting: VecDeque<Question>, asked: u32 },
}

impl Stage {
    fn running() -> Self {
        Stage::Running { open: BTreeMap::new(), waiting: VecDeque::new(), asked: 0 }
    }
}

impl CodeToolDesk {
    /// Takes an attempt of code, with or without tools.
    pub(crate) fn begin(
        &mut self,
        spec: &AttemptSpec,
        work: &CodeWork,
        run_dir: Rc<RunDir>,
        servers: &mut Servers,
        workers: &mut Workers,
    ) -> Result<(), Failure> {
        let Some(tools) = &work.tools else {
            workers.call(spec, work, String::new(), run_dir);
            return Ok(());
        };
        let visible: Vec<String> =
            servers.names().filter(|name| shows_server(tools, name)).map(str::to_owned).collect();
        let mut user = User {
            tools: tools.clone(),
            env: spec.env.clone(),
            epoch: spec.epoch,
            limits: Limits { timeout: spec.timeout, idle: None, start: None },
            run_dir: Rc::clone(&run_dir),
            log: Log::Silent,
            stem: spec.file_stem(),
            stage: Stage::running(),
        };
        if tools.intent.is_none() || visible.is_empty() {
            let described = json!({"servers": visible, "ranked": []}).to_string();
            workers.call(spec, work, described, run_dir);
        } else {
            for name in &visible {
                servers.ask_for_tools(spec.key, name, &spec.env)?;
            }
            user.stage =
                Stage::Searching { missing: visible, spec: Box::new(spec.clone()), work: Box::new(work.clone()) };
        }
        self.attempts.insert(spec.key, user);
        Ok(())
    }

    /// Gives an attempt up that no worker has yet.
    pub(crate) fn cancel(&mut self, key: AttemptKey, cut: Cut, reports: &mut Vec<Report>) -> bool {
        let Some(user) = self.attempts.get(&key).filter(|user| matches!(user.stage, Stage::Searching { .. })) else {
            return false;
        };
        reports.push(user.ended(key, verdict::for_cut(cut, user.limits, "")));
        true
    }

    /// Passes on what code has asked since the last time.
    pub(crate) fn pass_on(&mut self, servers: &mut Servers, workers: &mut Workers, reports: &mut Vec<Report>) {
        for question in workers.take_questions() {
            if let Some(user) = self.attempts.get_mut(&question.key) {
                user.ask(question, servers, workers, reports);
            }
        }
    }

    /// Takes what the servers have answered; false when that was nothing.
    pub(crate) fn hear(&mut self, servers: &mut Servers, workers: &mut Workers, reports: &mut Vec<Report>) -> bool {
        let answers = servers.take_answers();
        let heard = !answers.is_empty();
        for answer in answers {
            match answer {
                Answer::Called { key, call, outcome } => {
                    let Some(user) = self.attempts.get_mut(&key) else { continue };
                    user.answered(key, call, outcome, workers);
                    user.go_on(servers, workers, reports);
                }
                Answer::Listed { key, server, outcome } => {
                    let Some(user) = self.attempts.get_mut(&key) else { continue };
                    let Stage::Searching { missing, .. } = &mut user.stage else { continue };
                    if let Err(failure) = outcome {
                        missing.clear();
                        reports.push(user.ended(key, failure));
                        continue;
                    }
                    missing.retain(|name| *name != server);
                    if missing.is_empty() {
                        user.start(&mut self.index, servers, workers);
                    }
                }
            }
        }
        heard
    }

    /// Forgets attempts whose end is among the reports; true when a server was told to stop something.
    pub(crate) fn retire(&mut self, servers: &mut Servers, reports: &[Report]) -> bool {
        let mut told = false;
        for report in reports {
            if let Report::Ended(Ended { key, .. }) = report
                && self.attempts.remove(key).is_some()
            {
                servers.forget(*key);
                told = true;
            }
        }
        told
    }
}

impl User {
    fn ended(&self, key: AttemptKey, failure: Failure) -> Report {
        Report::Ended(Ended { key, epoch: self.epoch, result: Err(failure), usage: None, session: None })
    }

    /// All tools are known: lists them for the code and lets it start.
    fn start(&mut self, index: &mut Option<(Vec<(String, usize)>, Index)>, servers: &Servers, workers: &mut Workers) {
        let Stage::Searching { spec, work, .. } = std::mem::replace(&mut self.stage, Stage::running()) else { return };
        let visible: Vec<&str> = servers.names().filter(|name| shows_server(&self.tools, name)).collect();
        let all: Vec<(String, &crate::mcp::Tool)> = visible
            .iter()
            .flat_map(|server| servers.tools(server).iter().map(move |tool| (format!("{server}:{}", tool.name), tool)))
            .filter(|(name, _)| self.tools.granted.is_none() || is_granted(&self.tools, name))
            .collect();
        let shape: Vec<(String, usize)> =
            all.iter().map(|(name, tool)| (name.clone(), tool.description.len())).collect();
        let index = match index {
            Some((of, index)) if *of == shape => index,
            _ => {
                let described = all.iter().map(|(name, tool)| Described {
                    name,
                    description: &tool.description,
                    parameters: &tool.schema,
                });
                &index.insert((shape, Index::new(described))).1
            }
        };
        let mut ranked: Vec<Value> = Vec::new();
        let mut bytes = 0;
        for found in index.search(self.tools.intent.as_deref().unwrap_or_default(), LISTED) {
            let (name, tool) = &all[found];
            let entry = json!({"name": name, "description": tool.description, "parameters": tool.schema});
            bytes += entry.to_string().len();
            if bytes > LISTED_BYTES {
                break;
            }
            ranked.push(entry);
        }
        let described = json!({"servers": visible, "ranked": ranked}).to_string();
        workers.call(&spec, &work, described, Rc::clone(&self.run_dir));
    }

    fn ask(&mut self, question: Question, servers: &mut Servers, workers: &mut Workers, reports: &mut Vec<Report>) {
        let Stage::Running { waiting, asked, .. } = &mut self.stage else { return };
        *asked += 1;
        let (key, number) = (question.key, question.number);
        if *asked > MAX_TOOL_CALLS {
            workers.answer(key, number, &ToolAnswer::Failed("tools were called too often".to_owned()));
        } else if !question.name.contains(':') {
            let told = format!("{:?} is no name of a tool; write it as server:tool_name", question.name);
            workers.answer(key, number, &ToolAnswer::Failed(told));
        } else if !is_granted(&self.tools, &question.name) {
            let rule = match self.tools.granted {
                None => "no tool is granted: name it in the task's permissions.tools",
                Some(_) => "permissions.tools does not name it",
            };
            let told = format!("calling {:?} is not permitted: {rule}", question.name);
            workers.answer(key, number, &ToolAnswer::Denied(told));
            let (action, resource, rule) = ("call".to_owned(), question.name, rule.to_owned());
            reports.push(Report::Denied { key, action, resource, rule });
        } else if waiting.iter().map(|asked| asked.arguments.len()).sum::<usize>() + question.arguments.len()
            > WAITING_BYTES
        {
            let told =
                format!("calls with more than {WAITING_BYTES} bytes of arguments wait already; await some first");
            workers.answer(key, number, &ToolAnswer::Failed(told));
        } else {
            waiting.push_back(question);
            self.go_on(servers, workers, reports);
        }
    }

    /// Sends what waits, as far as there is room.
    fn go_on(&mut self, servers: &mut Servers, workers: &mut Workers, reports: &mut Vec<Report>) {
        loop {
            let Stage::Running { open, waiting, .. } = &mut self.stage else { return };
            if open.len() >= AT_ONCE as usize {
                return;
            }
            let Some(question) = waiting.pop_front() else { return };
            let Question { key, number, name, arguments } = question;
            let (server, tool) = name.split_once(':').unwrap_or((&name, ""));
            let work = ToolWork {
                server: server.to_owned(),
                tool: tool.to_owned(),
                arguments: serde_json::from_str(&arguments).unwrap_or_default(),
                idempotency_key: format!("{}.{number}", self.tools.idempotency_key),
            };
            open.insert(number, name.clone());
            let called = servers.call_for_code(key, number, &self.env, work);
            match called {
                Ok(()) => {
                    self.note(&format!("tool {number} {name}: called\n"));
                    reports.extend(
                        last_line(format!("calls {name}").as_bytes()).map(|line| Report::Progress { key, line }),
                    );
                }
                Err(failure) => self.answered(key, number, Err(failure), workers),
            }
        }
    }

    fn answered(&mut self, key: AttemptKey, number: u32, outcome: Result<RawOutput, Failure>, workers: &mut Workers) {
        let Stage::Running { open, .. } = &mut self.stage else { return };
        let Some(name) = open.remove(&number) else { return };
        let (answer, told) = match outcome {
            Ok(RawOutput::Json(text)) => {
                let told = format!("{} bytes", text.len());
                (ToolAnswer::Value(text), told)
            }
            Ok(RawOutput::Text(text)) => {
                let told = format!("{} bytes of text", text.len());
                (ToolAnswer::Value(Value::String(text).to_string()), told)
            }
            Err(failure) => {
                let told = format!("failed ({})", failure.class.name());
                match failure.class {
                    FailureClass::Permission => (ToolAnswer::Denied(failure.message), told),
                    _ => (ToolAnswer::Failed(failure.message), told),
                }
            }
        };
        self.note(&format!("tool {number} {name}: {told}\n"));
        workers.answer(key, number, &answer);
    }

    /// Writes a line into the attempt's log.
    fn note(&mut self, line: &str) {
        let (run_dir, stem) = (&self.run_dir, &self.stem);
        self.log.push(line.as_bytes(), || run_dir.log(stem, "err"));
    }
}

/// Whether the server's name is in the scope of the code.
fn shows_server(tools: &CodeTools, server: &str) -> bool {
    tools.granted.as_ref().is_none_or(|granted| {
        granted.iter().any(|pattern| pattern.split_once(':').is_some_and(|(of, _)| fits(of, server)))
    })
}

/// Whether a tool, `server:tool`, may be called.
fn is_granted(tools: &CodeTools, name: &str) -> bool {
    let Some((server, tool)) = name.split_once(':') else { return false };
    tools.granted.as_ref().is_some_and(|granted| {
        granted
            .iter()
            .any(|pattern| pattern.split_once(':').is_some_and(|(of, wanted)| fits(of, server) && fits(wanted, tool)))
    })
}

/// Whether a text fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in [("a", "a"), ("*", ""), ("*", "abc"), ("list_*", "list_commits"), ("*_*_x", "a_b_x")] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("a", "ab"), ("", "a"), ("list_*", "xlist_"), ("a*a", "a"), ("*x*", "abc"), ("a*b*b", "ab")]
        {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn only_what_is_named_is_granted() {
        let tools = |granted: Option<&[&str]>| CodeTools {
            intent: None,
            granted: granted.map(|patterns| patterns.iter().map(|p| (*p).to_owned()).collect()),
            idempotency_key: String::new(),
        };
        let some = tools(Some(&["git:list_*", "mail:*", "Read"]));
        for (name, wanted) in [
            ("git:list_commits", true),
            ("mail:send", true),
            ("git:push", false),
            ("gitx:list_a", false),
            ("Read", false),
        ] {
            assert_eq!(is_granted(&some, name), wanted, "{name}");
        }
        assert!(shows_server(&some, "git") && !shows_server(&some, "other"));
        assert!(!is_granted(&tools(None), "git:list_commits") && shows_server(&tools(None), "git"));
        assert!(!is_granted(&tools(Some(&[])), "git:list_commits") && !shows_server(&tools(Some(&[])), "git"));
    }
}
