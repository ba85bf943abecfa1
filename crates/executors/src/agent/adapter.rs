//! The table of agent CLIs, and from a task to the command that performs it. It does not know what the CLIs answer.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

use raddle_engine::attempt::{AgentWork, Conversation, Failure};
use raddle_engine::secrets::named_in;
use raddle_engine::{FailureClass, Money};

use super::config::{CliConfig, ConfigError, OutputBy, PromptBy};
use super::stream::AgentStream;
use super::{AgentCommand, PrivateEnv, claude, codex, gemini, opencode};

/// Names that need no configuration.
const BUILT_IN: [&str; 4] = ["claude", "codex", "gemini", "opencode"];
/// The kernel takes no longer argument (128 KiB with its final NUL).
const MAX_ARGUMENT_BYTES: usize = (128 << 10) - 1;

/// A CLI that has not said that it has started by then hangs. Many of them starting at once on a busy machine take
/// seconds, and a server of tools that never answers takes half a minute.
const START_LIMIT: Duration = Duration::from_secs(120);

/// All agent CLIs of a configuration.
#[derive(Debug, Clone)]
pub struct Adapters {
    by_name: BTreeMap<String, Adapter>,
}

impl Adapters {
    /// The built-in ones, changed and extended by `[clis.*]`. All errors are told, not only the first.
    pub fn new(configs: &BTreeMap<String, CliConfig>) -> Result<Adapters, Vec<ConfigError>> {
        let mut by_name: BTreeMap<String, Adapter> = BTreeMap::new();
        for name in BUILT_IN {
            by_name.insert(name.into(), Adapter::built_in(name).expect("the list and the match agree"));
        }
        let mut errors = Vec::new();
        for (name, config) in configs {
            match Adapter::configured(name, config) {
                Ok(adapter) => _ = by_name.insert(name.clone(), adapter),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Adapters { by_name }) } else { Err(errors) }
    }

    /// The adapter of that name.
    pub fn get(&self, name: &str) -> Result<&Adapter, Failure> {
        self.by_name.get(name).ok_or_else(|| {
            let why =
                format!("no agent CLI is called `{name}`; there are {}", self.names().collect::<Vec<_>>().join(", "));
            Failure::new(FailureClass::Start, why)
        })
    }

    /// The names of all of them, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

/// Whose habits a CLI has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Claude,
    Codex,
    Gemini,
    Opencode,
    /// Described wholly by its configuration.
    Plain,
}

/// What an agent CLI tells of what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reports {
    /// How many tokens.
    pub tokens: bool,
    /// How much money.
    pub cost: bool,
}

/// One agent CLI.
#[derive(Debug, Clone)]
pub struct Adapter {
    name: String,
    family: Family,
    command: Vec<String>,
    prompt: PromptBy,
    output: OutputBy,
    config: CliConfig,
}

impl Adapter {
    fn built_in(name: &str) -> Option<Adapter> {
        let (family, output) = match name {
            "claude" => (Family::Claude, OutputBy::ClaudeStream),
            "codex" => (Family::Codex, OutputBy::CodexStream),
            "gemini" => (Family::Gemini, OutputBy::GeminiStream),
            "opencode" => (Family::Opencode, OutputBy::OpencodeStream),
            _ => return None,
        };
        Some(Adapter {
            name: name.into(),
            family,
            command: vec![name.into()],
            prompt: PromptBy::Stdin,
            output,
            config: CliConfig::default(),
        })
    }

    fn configured(name: &str, config: &CliConfig) -> Result<Adapter, ConfigError> {
        let wrong = |what: String| Err(ConfigError { cli: name.into(), what });
        if config.command.as_ref().is_some_and(|c| c.first().is_none_or(String::is_empty)) {
            return wrong("`command` must name a program".into());
        }
        if let Some(bad) = config.env.iter().find(|v| !is_variable(v) && private(v).is_none()) {
            // What is behind a `=` may be what it should not be.
            let bad = bad.split('=').next().unwrap_or_default();
            return wrong(format!("`env` takes names, `PREFIX_*` and `NAME=${{secret:NAME}}`, not `{bad}`"));
        }
        let base = match &config.like {
            Some(like) => match Adapter::built_in(like) {
                Some(base) => Some(base),
                None => {
                    return wrong(format!("`like` must name a built-in CLI ({}), not `{like}`", BUILT_IN.join(", ")));
                }
            },
            None => Adapter::built_in(name),
        };
        let Some(mut adapter) = base else {
            let Some(command) = config.command.clone() else { return wrong("`command` is missing".into()) };
            if config.trust_project {
                return wrong("`trust_project` means nothing for a CLI that is not built in".into());
            }
            return Ok(Adapter {
                name: name.into(),
                family: Family::Plain,
                command,
                prompt: config.prompt.unwrap_or(PromptBy::Stdin),
                output: config.output.unwrap_or(OutputBy::Text),
                config: config.clone(),
            });
        };
        let c = config;
        let flags = [&c.model_flag, &c.system_prompt_flag, &c.schema_flag, &c.tools_flag];
        if config.trust_project && adapter.family == Family::Codex {
            return wrong(format!("`trust_project` means nothing for `{}`", adapter.name));
        }
        if flags.iter().any(|f| f.is_some())
            || c.prompt.is_some_and(|p| p != adapter.prompt)
            || c.output.is_some_and(|o| o != adapter.output)
        {
            let what = "a built-in CLI's flags, `prompt` and `output` cannot be changed; give the CLI another name";
            return wrong(what.into());
        }
        adapter.name = name.into();
        if let Some(command) = &config.command {
            adapter.command.clone_from(command);
        }
        adapter.config = config.clone();
        Ok(adapter)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose habits it has.
    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// The configured option before the tools of a CLI that is not built in.
    pub(super) fn tools_flag(&self) -> Option<&str> {
        self.config.tools_flag.as_deref()
    }

    /// The program that must be there.
    pub fn program(&self) -> &str {
        &self.command[0]
    }

    /// The failure of a task whose CLI is not there: no other attempt finds it either.
    pub(crate) fn missing(&self) -> Failure {
        let how = match self.family {
            Family::Claude => "`npm install -g @anthropic-ai/claude-code`",
            Family::Codex => "`npm install -g @openai/codex`",
            Family::Gemini => "`npm install -g @google/gemini-cli`",
            Family::Opencode => "`npm install -g opencode-ai`",
            Family::Plain => "it",
        };
        let told = format!(
            "agent CLI `{0}` is not here: {1:?} is not found; install {how}, or say in `[clis.{0}] command` where it is",
            self.name,
            self.program()
        );
        Failure::lasting(FailureClass::Start, told)
    }

    /// Within which time its first word must come; `None` for CLIs that say nothing before they have an answer.
    pub fn start_limit(&self) -> Option<Duration> {
        match self.family {
            Family::Claude | Family::Codex | Family::Gemini => Some(START_LIMIT),
            Family::Opencode | Family::Plain => None,
        }
    }

    /// What to spawn for a process that is given such tasks one after the other over stdin; the prompt of this one is in
    /// `stdin`, not to be written as it is. `None` for CLIs that end with their answer.
    pub(crate) fn long_lived(&self, work: &AgentWork) -> Option<Result<AgentCommand, Failure>> {
        if self.family != Family::Claude || work.conversation != Conversation::Fresh {
            return None;
        }
        Some(self.command(work).map(|mut command| {
            command.argv.extend(["--input-format", "stream-json"].map(str::to_owned));
            // What goes on in the background would answer into somebody else's turn.
            command.env.push(("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS".to_owned(), "1".to_owned()));
            command
        }))
    }

    /// What the CLI reads and writes for itself, which a confined process needs: login, settings, sessions. Folders that
    /// are not there are made, since a confined process could not make them, and would lose its conversation.
    pub(crate) fn settings(&self) -> Vec<PathBuf> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let moved = match self.family {
            Family::Claude => std::env::var_os("CLAUDE_CONFIG_DIR"),
            Family::Codex => std::env::var_os("CODEX_HOME"),
            _ => None,
        };
        let (folders, files) = self.own_places();
        let below_home = |names: &[&str]| -> Vec<PathBuf> {
            names.iter().filter_map(|name| Some(home.as_ref()?.join(name))).collect()
        };
        let mut places = moved.map_or_else(|| below_home(folders), |folder| vec![PathBuf::from(folder)]);
        for folder in &places {
            // Where this cannot be done the CLI could not do it either, and says so.
            let _ = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        }
        places.extend(below_home(folders));
        places.extend(below_home(files));
        places
    }

    /// Folders and files of the CLI's own below the home folder.
    fn own_places(&self) -> (&'static [&'static str], &'static [&'static str]) {
        match self.family {
            Family::Claude => (&[".claude", ".cache/claude-cli-nodejs"], &[".claude.json", ".claude.json.lock"]),
            Family::Codex => (&[".codex"], &[]),
            Family::Gemini => (&[".gemini"], &[]),
            Family::Opencode => {
                (&[".local/share/opencode", ".local/state/opencode", ".config/opencode", ".cache/opencode"], &[])
            }
            Family::Plain => (&[], &[]),
        }
    }

    /// Whether it can be told what a task may cost.
    pub fn takes_budget(&self) -> bool {
        self.family == Family::Claude
    }

    /// What tells it how much an attempt may cost.
    pub fn budget_flags(&self, max_cost: Option<Money>) -> Vec<String> {
        let told = max_cost.filter(|_| self.takes_budget());
        told.map_or_else(Vec::new, |usd| vec!["--max-budget-usd".into(), usd.usd().to_string()])
    }

    /// What its answers tell of what they cost.
    pub fn reports(&self) -> Reports {
        match self.output {
            OutputBy::ClaudeStream => Reports { tokens: true, cost: true },
            OutputBy::CodexStream | OutputBy::GeminiStream => Reports { tokens: true, cost: false },
            OutputBy::OpencodeStream => Reports { tokens: true, cost: true },
            OutputBy::Text | OutputBy::Json => Reports::default(),
        }
    }

    /// What to spawn for a task. A failure here costs nothing: no process exists yet.
    pub fn command(&self, work: &AgentWork) -> Result<AgentCommand, Failure> {
        let mut command = AgentCommand { argv: self.command.clone(), ..AgentCommand::default() };
        if let Some(model) = &work.model
            && (model.is_empty() || model.starts_with('-'))
        {
            return Err(Failure::new(FailureClass::Input, format!("`{model}` is no model's name")));
        }
        if let Conversation::Fork(session) = &work.conversation
            && (session.id.is_empty() || session.id.starts_with('-'))
        {
            return Err(Failure::new(FailureClass::Input, format!("`{}` is no session's name", session.id)));
        }
        if work.conversation == Conversation::Shared
            || work.conversation != Conversation::Fresh && self.family == Family::Plain
        {
            let told = format!("`{}` cannot continue another task's conversation", self.name);
            return Err(Failure::new(FailureClass::Input, told));
        }
        let inert;
        let work = match work.begins_foreign && work.prompt.starts_with('/') && self.family != Family::Plain {
            // A slash at the very beginning is a command of the CLI, which only the workflow's own words may give.
            true => {
                inert = AgentWork { prompt: format!(" {}", work.prompt), ..work.clone() };
                &inert
            }
            false => work,
        };
        match self.family {
            Family::Claude => claude::arguments(work, self.config.trust_project, &mut command)?,
            Family::Codex => codex::arguments(work, &mut command)?,
            Family::Gemini => gemini::arguments(work, self.config.trust_project, &mut command)?,
            Family::Opencode => opencode::arguments(work, self.config.trust_project, &mut command)?,
            Family::Plain => self.plain_arguments(work, &mut command)?,
        }
        command.argv.extend(self.config.extra_args.iter().cloned());
        command.pass_env.extend(self.config.env.iter().filter(|entry| is_variable(entry)).cloned());
        command.private_env = self.private_env();
        if self.family == Family::Plain {
            self.plain_prompt(work, &mut command)?;
        }
        for argument in &command.argv {
            if argument.contains('\0') || argument.len() > MAX_ARGUMENT_BYTES {
                let start: String = argument.chars().take(40).collect();
                let told = format!("an argument of `{}` is too long or holds a NUL byte: `{start}…`", self.name);
                return Err(Failure::new(FailureClass::Input, told));
            }
        }
        Ok(command)
    }

    /// Variables of its configuration that are made of secrets.
    pub fn private_env(&self) -> PrivateEnv {
        PrivateEnv(self.config.env.iter().filter_map(|entry| private(entry)).collect())
    }

    /// A reader for what that command will say.
    pub fn stream(&self, work: &AgentWork) -> AgentStream {
        let before = match &work.conversation {
            Conversation::Fork(session) => Some(session.used),
            Conversation::Fresh | Conversation::Shared => None,
        };
        AgentStream::new(self.output, work.schema.is_some(), before)
    }

    fn plain_arguments(&self, work: &AgentWork, command: &mut AgentCommand) -> Result<(), Failure> {
        let refused = |class: FailureClass, what: &str, key: &str| {
            Err(Failure::new(class, format!("agent CLI `{}` has no `{key}`, so it cannot be told {what}", self.name)))
        };
        let mut option = |flag: &str, value: String| command.argv.extend([flag.to_owned(), value]);
        let c = &self.config;
        match (&work.model, &c.model_flag) {
            (Some(model), Some(flag)) => option(flag, model.clone()),
            (Some(model), None) => return refused(FailureClass::Input, &format!("the model `{model}`"), "model_flag"),
            (None, _) => {}
        }
        if let (Some(text), Some(flag)) = (&work.system_prompt, &c.system_prompt_flag) {
            option(flag, text.clone());
        }
        if let (Some(schema), Some(flag)) = (&work.schema, &c.schema_flag) {
            option(flag, schema.to_string());
        }
        match (&work.tools, &c.tools_flag) {
            (Some(tools), Some(flag)) => option(flag, tools.join(",")),
            // Running it with all its tools would be wider than what the workflow grants.
            (Some(_), None) => return refused(FailureClass::Permission, "which tools it may use", "tools_flag"),
            (None, _) => {}
        }
        Ok(())
    }

    fn plain_prompt(&self, work: &AgentWork, command: &mut AgentCommand) -> Result<(), Failure> {
        let prompt = match (&work.system_prompt, &self.config.system_prompt_flag) {
            (Some(system), None) => format!("{}\n\n{}", system.trim_end(), work.prompt),
            _ => work.prompt.clone(),
        };
        match self.prompt {
            PromptBy::Stdin => command.stdin = prompt.into_bytes(),
            PromptBy::Argument => {
                if prompt.starts_with('-') && command.argv.last().is_none_or(|a| a != "--") {
                    let told = format!(
                        "the prompt begins with `-` and `{}` would read it as an option; end its `extra_args` with `--`",
                        self.name
                    );
                    return Err(Failure::new(FailureClass::Input, told));
                }
                command.argv.push(prompt);
            }
        }
        Ok(())
    }
}

/// `NAME=TEXT` with a secret in the text; plain values belong into `env:` of a workflow.
fn private(entry: &str) -> Option<(String, String)> {
    let (name, text) = entry.split_once('=')?;
    let is_private = is_variable(name) && !name.ends_with('*') && named_in(text).next().is_some();
    is_private.then(|| (name.to_owned(), text.to_owned()))
}

/// `NAME` or `PREFIX_*`; never everything.
fn is_variable(pattern: &str) -> bool {
    let name = pattern.strip_suffix("_*").unwrap_or(pattern);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
