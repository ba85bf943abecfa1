//! The executor `api`: every attempt is one thread with one connection. It does not know protocols.

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{
    AgentWork, AttemptKey, AttemptSpec, Conversation, Demands, Ended, Failure, Report, StopCause, Work,
};
use raddle_engine::executor::{Capabilities, Executor, Post};
use raddle_engine::secrets::{Redactor, Secrets};
use ureq::Agent;

use super::call::{self, Ending, Listener};
use super::dialect::Question;
use super::providers::{ApiConfig, Target};
use crate::process::{Log, last_line};
use crate::verdict::{self, Cut, Limits};

/// Its name in `executor:`.
const NAME: &str = "api";
/// Lines of one attempt are shown at most this often.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// TLS and JSON need little of it.
const STACK_BYTES: usize = 1 << 20;

/// See the module.
pub struct ApiExecutor {
    config: Arc<ApiConfig>,
    /// Looks a variable of the environment up; the value of a key is held for one call only.
    variable: fn(&str) -> Option<String>,
    secrets: Arc<Secrets>,
    live: Arc<Mutex<HashMap<AttemptKey, Live>>>,
}

/// A call under way.
struct Live {
    agent: Agent,
    cut: Option<Cut>,
}

impl ApiExecutor {
    /// With these providers; keys come from this process's environment.
    pub fn new(config: ApiConfig) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        ApiExecutor { config: Arc::new(config), variable, secrets: Arc::default(), live: Arc::default() }
    }

    /// With the secrets that are keys, and that no log may hold.
    #[must_use]
    pub fn with_secrets(mut self, secrets: &Arc<Secrets>) -> Self {
        self.secrets = Arc::clone(secrets);
        self
    }

    /// What it can do.
    pub fn describe() -> Capabilities {
        Capabilities {
            tools: false,
            isolation: "conversation",
            output_format: "text or JSON",
            cleanup: "none needed",
            best_for: "answers without tools",
            ..Capabilities::of_agents(NAME)
        }
    }

    fn begin(&self, spec: &AttemptSpec, post: &Post) -> Result<(), Failure> {
        let Work::Agent(work) = &spec.work else {
            return Err(Failure::new(FailureClass::Start, "executor api performs agent tasks only"));
        };
        let wrong = |error: super::RouteError| Failure::new(FailureClass::Input, error.to_string());
        let mut chain = self.config.chain(work.model.as_deref()).map_err(wrong)?;
        if spec.demands.one_model {
            chain.truncate(1);
        }
        let unnamed = work.model.is_none();
        let question = self.question(work)?;
        let agent = call::agent(spec.idle.unwrap_or(spec.timeout));
        let live = Live { agent: agent.clone(), cut: None };
        self.live.lock().unwrap_or_else(PoisonError::into_inner).insert(spec.key, live);
        let (lives, post, config) = (Arc::clone(&self.live), Arc::clone(post), Arc::clone(&self.config));
        let (spec, variable, secrets) = (spec.clone(), self.variable, Arc::clone(&self.secrets));
        let thread = std::thread::Builder::new().name("api".to_owned()).stack_size(STACK_BYTES);
        let key = spec.key;
        let spawned = thread.spawn(move || {
            let _kept = config;
            let mut teller = Teller::new(&spec, &post, &secrets);
            if let (true, Some(first)) = (unnamed, chain.first()) {
                teller.chosen(first, "default of executor api".to_owned());
            }
            let of = |target: &Target| key_of(target, variable, &secrets);
            let Ending { result, usage } = call::ask(&agent, &chain, &question, &of, &mut teller);
            teller.finish();
            let live = lives.lock().unwrap_or_else(PoisonError::into_inner).remove(&spec.key);
            let limits = Limits { timeout: spec.timeout, idle: spec.idle, start: None };
            let result = match (live.and_then(|live| live.cut), result) {
                // What had been said completely before the stop reached it counts.
                (Some(cut), Err(_)) => Err(verdict::for_cut(cut, limits, "")),
                (None, Err(failure)) if failure.class == FailureClass::Idle && spec.idle.is_some() => {
                    Err(verdict::for_cut(Cut::Idle, limits, &failure.message))
                }
                (_, result) => result,
            };
            post(Report::Ended(Ended { key: spec.key, epoch: spec.epoch, result, usage, session: None }));
        });
        spawned.map(drop).map_err(|error| {
            self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            Failure::new(FailureClass::Start, format!("cannot start a thread for the call: {error}"))
        })
    }

    fn question(&self, work: &AgentWork) -> Result<Question, Failure> {
        let refused = |what: &str| Err(Failure::new(FailureClass::Permission, format!("executor api {what}")));
        if work.conversation != Conversation::Fresh {
            return refused("continues no conversations; use executor process");
        }
        Ok(Question {
            model: String::new(),
            system: work.system_prompt.clone(),
            prompt: work.prompt.clone(),
            schema: work.schema.clone(),
            max_tokens: self.config.max_output_tokens,
        })
    }
}

fn key_of(target: &Target, variable: fn(&str) -> Option<String>, secrets: &Secrets) -> Result<Option<String>, Failure> {
    if let Some(name) = &target.config.key_secret {
        let key = secrets.value(name).filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()));
        let told = || format!("the secret {name} holds no key for provider {}", target.provider);
        return key.map(|key| Some(key.to_owned())).ok_or_else(|| Failure::new(FailureClass::Auth, told()));
    }
    let Some(name) = &target.config.key_env else { return Ok(None) };
    let key = variable(name).ok_or_else(|| {
        let what = format!("the key of provider {} is missing: set the environment variable {name}", target.provider);
        Failure::new(FailureClass::Auth, what)
    })?;
    match key.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Some(key)),
        false => Err(Failure::new(FailureClass::Auth, format!("the environment variable {name} holds no key"))),
    }
}

impl Executor for ApiExecutor {
    fn capabilities(&self) -> Capabilities {
        Self::describe()
    }

    fn available(&self) -> Result<(), String> {
        Ok(())
    }

    fn meets(&self, demands: &Demands) -> Result<(), String> {
        // There is no process, and what answers reaches no file of this machine: any confinement holds.
        let demands = Demands { confinement: None, ..demands.clone() };
        demands.unmet_by_default().map_or(Ok(()), |what| Err(format!("{what} is not available with executor api")))
    }

    fn start(&mut self, spec: AttemptSpec, post: Post) {
        if let Err(failure) = self.begin(&spec, &post) {
            let ended = Ended { key: spec.key, epoch: spec.epoch, result: Err(failure), usage: None, session: None };
            post(Report::Ended(ended));
        }
    }

    fn stop(&mut self, key: AttemptKey, cause: StopCause, _: Duration) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = live.get_mut(&key) {
            live.cut.get_or_insert(Cut::Stopped(cause));
            live.agent.clone().shutdown();
        }
    }
}

impl Drop for ApiExecutor {
    fn drop(&mut self) {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.values().for_each(|live| live.agent.clone().shutdown());
    }
}

/// Tells the display and the log what is said.
struct Teller<'a> {
    spec: &'a AttemptSpec,
    post: &'a Post,
    redactor: Redactor,
    log: Log,
    line: String,
    shown_at: Option<Instant>,
}

/// Of the line under way, so much is held for the display.
const LINE_BYTES: usize = 4096;

impl<'a> Teller<'a> {
    fn new(spec: &'a AttemptSpec, post: &'a Post, secrets: &Arc<Secrets>) -> Self {
        Teller { spec, post, redactor: Redactor::new(secrets), log: Log::Silent, line: String::new(), shown_at: None }
    }

    fn chosen(&self, target: &Target, reason: String) {
        (self.post)(Report::Model { key: self.spec.key, model: target.model.clone(), reason });
    }

    fn log(&mut self, text: &str) {
        let logs = self.spec.run_dir.join("logs");
        let file = logs.join(format!("{}.out", self.spec.file_stem()));
        self.log.push(text.as_bytes(), || {
            // A folder that cannot be made shows in the log's absence.
            let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&logs);
            file
        });
    }

    fn finish(&mut self) {
        let rest = self.redactor.finish();
        self.take(&String::from_utf8_lossy(&rest));
        if !self.line.is_empty() {
            self.log("\n");
        }
    }
}

impl Listener for Teller<'_> {
    fn said(&mut self, piece: &str) {
        let piece = self.redactor.push(piece.as_bytes()).into_owned();
        self.take(&String::from_utf8_lossy(&piece));
    }

    fn passed_on(&mut self, to: &Target, why: &str) {
        self.chosen(to, format!("fallback: {why}"));
    }
}

impl Teller<'_> {
    /// Takes what may be seen of it.
    fn take(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        self.log(piece);
        self.line.push_str(piece);
        if let Some(end) = self.line.trim_end_matches('\n').rfind('\n') {
            self.line.drain(..=end);
        }
        if self.line.len() > LINE_BYTES {
            let cut = self.line.ceil_char_boundary(self.line.len() - LINE_BYTES / 2);
            self.line.drain(..cut);
        }
        let due = self.shown_at.is_none_or(|at| at.elapsed() >= SHOW_EVERY);
        if let Some(line) = last_line(self.line.as_bytes()).filter(|_| due) {
            self.shown_at = Some(Instant::now());
            (self.post)(Report::Progress { key: self.spec.key, line });
        }
    }
}
