//! The bodies of the four kinds of tasks: agent, tool, code, shell. It does not know what all tasks have in common.

use std::time::Duration;

use super::Reading;
use super::fields::{self, BareNumber};
use super::header::{self, Header};
use crate::catalog::AgentDefinition;
use crate::diagnostic::quoted;
use crate::keys;
use crate::mcp_server::AgentTool;
use crate::references::{self, Names, Use};
use crate::syntax::{Data, Entry, Node, Span};
use crate::template::Template;
use crate::workflow::{AgentContext, AgentTask, CodeTask, ShellTask, ToolTask};

/// A task's keys and what they may refer to.
pub(super) struct Body<'a, 'n, 'c, 't> {
    pub(super) entries: &'a [Entry<'n>],
    pub(super) header: &'a Header,
    pub(super) names: &'a Names<'a>,
    pub(super) uses: &'a mut Vec<Use>,
    pub(super) cx: &'a mut Reading<'c, 't>,
}

/// The agent CLI when nothing else is said.
const DEFAULT_CLI: &str = "claude";
/// The agent when nothing else is said.
const DEFAULT_AGENT: &str = "general";
/// `sandbox_config.timeout` when nothing is said.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(30);
/// `sandbox_config.memoryLimit` when nothing is said.
const SANDBOX_MEMORY: u64 = 64 << 20;
/// Code and prompts beyond this are refused; files are read for them.
const MAX_CODE_BYTES: usize = 4 << 20;

impl<'a, 'n> Body<'a, 'n, '_, '_> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Node<'n>> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    fn template(&mut self, node: &Node<'_>) -> Template {
        references::template(node, self.names, self.uses, &mut self.cx.sink)
    }

    pub(super) fn text_template(&mut self, text: &str, span: Span) -> Template {
        references::text_template(text, span, self.names, self.uses, &mut self.cx.sink)
    }

    pub(super) fn agent(&mut self, name: &str) -> Option<AgentTask> {
        let agent = match self.get("agent") {
            Some(node) => fields::plain_text("agent", node, &mut self.cx.sink)?,
            None => DEFAULT_AGENT,
        };
        let definition = self.header.agents.get(agent).or_else(|| self.cx.catalog.agents.get(agent));
        let definition = match (definition, self.get("agent")) {
            (Some(definition), _) => definition.clone(),
            (None, None) => Default::default(),
            (None, Some(node)) => {
                self.unknown_agent(agent, node.span);
                return None;
            }
        };
        let cli = definition.cli.clone().unwrap_or_else(|| DEFAULT_CLI.to_owned());
        if let Some(node) = self.get("agent").filter(|_| !self.header.agents.contains_key(agent)) {
            header::known_cli(&cli, self.cx.catalog, node.span, &mut self.cx.sink);
        }
        let prompt = match self.get("prompt") {
            Some(node) => {
                let text = fields::plain_text("prompt", node, &mut self.cx.sink)?;
                self.text_template(text, node.span)
            }
            None => Template::Literal(name.into()),
        };
        let model = match self.get("model") {
            Some(node) => Some(fields::plain_text("model", node, &mut self.cx.sink)?.to_owned()),
            None if definition.mcp.is_some() => None,
            None => definition.model.clone().or_else(|| self.header.defaults.model.clone()),
        };
        let quiet = self.get("inputs").is_some_and(|node| self.no_inputs(node));
        let context = match self.get("context") {
            Some(node) => self.conversation(node)?,
            None => AgentContext::Fresh,
        };
        if let Some(tool) = &definition.mcp {
            self.only_a_prompt(agent, tool, &definition)?;
        }
        Some(AgentTask {
            agent: agent.to_owned(),
            cli,
            append_inputs: !quiet && prompt.references().next().is_none(),
            prompt,
            model,
            model_when_exhausted: None,
            model_reason: None,
            skills: self.skills(&definition.skills)?,
            system_prompt: definition.system_prompt,
            tools: definition.tools,
            context,
            tool: definition.mcp,
        })
    }

    /// A tool in the place of an agent gets a prompt and nothing else; what it would not get is refused.
    fn only_a_prompt(&mut self, agent: &str, tool: &AgentTool, definition: &AgentDefinition) -> Option<()> {
        let span = self.get("agent").map(|node| node.span).unwrap_or_default();
        let of_definition = [
            ("skills", !definition.skills.is_empty()),
            ("tools", definition.tools.is_some()),
            ("system_prompt", definition.system_prompt.is_some()),
            ("cli", definition.cli.is_some()),
            ("model", definition.model.is_some()),
        ];
        let own = ["skills", "model", "context"]
            .into_iter()
            .filter_map(|key| self.entries.iter().find(|entry| entry.key == key).map(|entry| (key, entry.key_span)));
        let given = of_definition.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| (key, span));
        let in_vain: Vec<(&str, Span)> = own.chain(given).collect();
        for (key, at) in &in_vain {
            let told = format!("`{key}` cannot reach agent {}, whose work is done by a tool", quoted(agent));
            self.cx.sink.error("bad-value", *at, told).help("leave it out, or use an agent with a `cli`");
        }
        if !self.header.is_server(&tool.server) {
            let told = format!("there is no server {} for agent {}", quoted(&tool.server), quoted(agent));
            self.cx.sink.error("unknown-server", span, told).help("declare it under `mcp_servers:` or in .mcp.json");
            return None;
        }
        in_vain.is_empty().then_some(())
    }

    /// `fresh`, `shared` or `{resume: task}`. Who may continue whom is judged when all tasks are known.
    fn conversation(&mut self, node: &'a Node<'n>) -> Option<AgentContext> {
        let Data::Map(entries) = &node.data else {
            let words = [("fresh", AgentContext::Fresh), ("shared", AgentContext::Shared(None))];
            return fields::choice("context", node, &words, &mut self.cx.sink);
        };
        let mut target = None;
        for entry in entries {
            match &*entry.key {
                "resume" => target = Some(&entry.value),
                _ => keys::unknown(entry, "`context` of an agent task", &[&["resume"]], &mut self.cx.sink),
            }
        }
        let Some(target) = target else {
            self.cx
                .sink
                .error("missing-key", node.span, "`context` does not say whose conversation is continued")
                .help("write `context: {resume: TASK}`, `context: shared` or `context: fresh`");
            return None;
        };
        let name = fields::text("resume", target, &mut self.cx.sink)?;
        let Some(task) = self.names.tasks.get(name).copied() else {
            let near = self.cx.sink.nearest(name, self.names.tasks.keys().copied());
            let message = format!("`resume` names {}, which is no task", quoted(name));
            let note = self.cx.sink.error("bad-reference", target.span, message);
            match near {
                Some(near) => note.help(format!("did you mean {}?", quoted(near))),
                None => note.help("name an agent task that comes before"),
            };
            return None;
        };
        self.uses.push(Use { target: task, span: target.span });
        Some(AgentContext::Resume(task))
    }

    fn unknown_agent(&mut self, agent: &str, span: Span) {
        let mut known: Vec<&str> =
            self.header.agents.keys().chain(self.cx.catalog.agents.keys()).map(String::as_str).collect();
        known.sort_unstable();
        known.dedup();
        let near = self.cx.sink.nearest(agent, known.iter().copied());
        let near = near.map(|near| format!("did you mean {}? ", quoted(near))).unwrap_or_default();
        self.cx
            .sink
            .error("unknown-agent", span, format!("there is no agent {}", quoted(agent)))
            .help(format!("{near}known agents: {}", known.join(", ")));
    }

    fn no_inputs(&mut self, node: &Node<'_>) -> bool {
        let items = fields::list("inputs", node, &mut self.cx.sink);
        if items.is_some_and(|items| !items.is_empty()) {
            self.cx
                .sink
                .error("bad-value", node.span, "`inputs` of an agent task can only be the empty list")
                .help("`inputs: []` keeps the outputs of its dependencies out of the prompt");
        }
        items.is_some()
    }

    fn skills(&mut self, of_agent: &[String]) -> Option<Vec<(String, String)>> {
        let own = match self.get("skills") {
            Some(node) => fields::texts("skills", node, &mut self.cx.sink)?,
            None => Vec::new(),
        };
        let span = self.get("skills").or_else(|| self.get("agent")).or_else(|| self.get("prompt"));
        let span = span.map(|node| node.span).unwrap_or_default();
        let mut skills: Vec<(String, String)> = Vec::new();
        for name in of_agent.iter().chain(&own) {
            if skills.iter().any(|(known, _)| known == name) {
                continue;
            }
            let Some(text) = self.cx.catalog.skills.get(name) else {
                let known: Vec<_> = self.cx.catalog.skills.keys().map(String::as_str).collect();
                let note = self.cx.sink.error("unknown-skill", span, format!("there is no skill {}", quoted(name)));
                match known.is_empty() {
                    true => note.help(format!("write it to .claude/skills/{name}/SKILL.md")),
                    false => note.help(format!("known skills: {}", known.join(", "))),
                };
                continue;
            };
            skills.push((name.clone(), text.clone()));
        }
        Some(skills)
    }

    pub(super) fn tool(&mut self) -> Option<ToolTask> {
        let arguments = match self.get("arguments") {
            Some(node) => {
                fields::map("arguments", node, &mut self.cx.sink)?;
                self.template(node)
            }
            None => Template::Literal(serde_json::Value::Object(serde_json::Map::new())),
        };
        let node = self.get("tool")?;
        let name = fields::text("tool", node, &mut self.cx.sink)?;
        let Some((server, tool)) = name.split_once(':').filter(|(s, t)| !s.is_empty() && !t.is_empty()) else {
            self.cx
                .sink
                .error("bad-tool-name", node.span, format!("{} is no name of a tool", quoted(name)))
                .help("write it as server:tool_name");
            return None;
        };
        let servers = &self.header.servers;
        if !servers.contains_key(server) && !self.header.faulty_servers.iter().any(|faulty| faulty == server) {
            let known: Vec<_> = servers.keys().map(String::as_str).collect();
            let note =
                self.cx.sink.error("unknown-server", node.span, format!("there is no server {}", quoted(server)));
            match known.is_empty() {
                true => note.help("declare it under `mcp_servers:` or in .mcp.json"),
                false => note.help(format!("known servers: {}", known.join(", "))),
            };
        }
        Some(ToolTask { server: server.to_owned(), tool: tool.to_owned(), arguments })
    }

    pub(super) fn code(&mut self, span: Span) -> Option<CodeTask> {
        let context = self.context();
        match self.get("type") {
            Some(node) => fields::choice("type", node, &[("code_execution", ())], &mut self.cx.sink)?,
            None => {
                self.cx.sink.error("missing-key", span, "a code task needs `type: code_execution`");
            }
        }
        let mut task = CodeTask {
            code: String::new(),
            code_file: None,
            context,
            sandbox_timeout: SANDBOX_TIMEOUT,
            memory_limit_bytes: SANDBOX_MEMORY,
            allowed_read_paths: Vec::new(),
            deterministic: false,
            intent: self.intent(),
            asks_for_tools: false,
        };
        task.asks_for_tools =
            task.intent.is_some() || self.get("permissions").is_some_and(|own| own.get("tools").is_some());
        if let Some(node) = self.get("sandbox_config") {
            self.sandbox(node, &mut task);
        }
        let (code, span) = self.code_text(span, &mut task)?;
        if code.trim().is_empty() {
            self.cx.sink.error("bad-value", span, "there is no code");
        } else if code.len() > MAX_CODE_BYTES {
            self.cx.sink.error("bad-value", span, format!("more than {} MB of code", MAX_CODE_BYTES >> 20));
        } else {
            super::code::check(&code, task.code_file.as_deref(), span, self.cx);
            let declared: Vec<&str> = task.context.iter().map(|(name, _)| name.as_str()).collect();
            for effect in crate::lint::effects(&code, &declared, !task.allowed_read_paths.is_empty()) {
                let message = format!("`{effect}` reaches out of the sandbox, where it does not exist");
                self.cx.sink.warning("lint-effect", span, message).help("leave effects to a tool, shell or agent task");
            }
        }
        task.code = code;
        Some(task)
    }

    /// What the code wants to do, in words; `tools` is then a name in its scope.
    fn intent(&mut self) -> Option<String> {
        let node = self.get("intent")?;
        let intent = fields::plain_text("intent", node, &mut self.cx.sink)?;
        if intent.trim().is_empty() {
            self.cx.sink.error("bad-value", node.span, "the intent is empty").help("say what the code wants to do");
        }
        if let Some(Data::Map(context)) = self.get("context").map(|node| &node.data)
            && let Some(entry) = context.iter().find(|entry| entry.key == "tools")
        {
            let message = "`tools` is what `intent` gives to the code";
            self.cx.sink.error("bad-value", entry.key_span, message).help("choose another name in `context`");
        }
        Some(intent.to_owned())
    }

    fn code_text(&mut self, span: Span, task: &mut CodeTask) -> Option<(String, Span)> {
        let sink = &mut self.cx.sink;
        match (self.entries.iter().find(|e| e.key == "code"), self.entries.iter().find(|e| e.key == "code_file")) {
            (Some(code), None) => {
                let text = fields::text("code", &code.value, sink)?;
                Some((text.to_owned(), code.value.span))
            }
            (None, Some(file)) => {
                let path = fields::plain_text("code_file", &file.value, sink)?;
                task.code_file = Some(path.to_owned());
                match self.cx.sources.read(path) {
                    Ok(code) => Some((code, file.value.span)),
                    Err(reason) => {
                        let message = format!("cannot read {}: {reason}", quoted(path));
                        self.cx.sink.error("unreadable-file", file.value.span, message);
                        None
                    }
                }
            }
            (Some(_), Some(file)) => {
                sink.error("conflicting-keys", file.key_span, "`code` and `code_file` cannot stand together")
                    .help("keep one of them");
                None
            }
            (None, None) => {
                sink.error("missing-key", span, "a code task needs `code` or `code_file`");
                None
            }
        }
    }

    fn context(&mut self) -> Vec<(String, Template)> {
        let Some(node) = self.get("context") else { return Vec::new() };
        let entries = fields::map("context", node, &mut self.cx.sink).unwrap_or_default();
        let mut context = Vec::with_capacity(entries.len());
        for entry in entries {
            if !crate::lint::is_variable(&entry.key) {
                let message = format!("{} cannot be a variable in the code", quoted(&entry.key));
                self.cx.sink.error("bad-value", entry.key_span, message).help("letters, digits and _, and no keyword");
            }
            context.push((entry.key.to_string(), self.template(&entry.value)));
        }
        context
    }

    fn sandbox(&mut self, node: &Node<'_>, task: &mut CodeTask) {
        let sink = &mut self.cx.sink;
        for entry in fields::map("sandbox_config", node, sink).unwrap_or_default() {
            let (key, node) = (&*entry.key, &entry.value);
            match key {
                "timeout" => {
                    let limit = fields::limit(key, node, BareNumber::Milliseconds, sink);
                    task.sandbox_timeout = limit.unwrap_or(SANDBOX_TIMEOUT);
                }
                "memoryLimit" => task.memory_limit_bytes = fields::size(key, node, sink).unwrap_or(SANDBOX_MEMORY),
                "deterministic" => task.deterministic = fields::boolean(key, node, sink).unwrap_or_default(),
                "allowedReadPaths" => task.allowed_read_paths = fields::texts(key, node, sink).unwrap_or_default(),
                _ => keys::unknown(entry, "`sandbox_config`", &[keys::SANDBOX], sink),
            }
        }
    }

    pub(super) fn shell(&mut self) -> Option<ShellTask> {
        let node = self.get("run")?;
        let Data::List(items) = &node.data else {
            let script = fields::plain_text("run", node, &mut self.cx.sink)?;
            if script.contains('$') && references::has_reference(script, self.names.has_item) {
                self.cx
                    .sink
                    .error("bad-reference", node.span, "a reference in a shell script could run what it brings")
                    .help("give it through `env:`, read the file named by $RADDLE_DEPS, or write `run` as a list");
                return None;
            }
            return Some(ShellTask::Script(script.to_owned()));
        };
        if items.is_empty() {
            self.cx.sink.error("bad-value", node.span, "`run` must name a program");
            return None;
        }
        let mut argv = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            let Some(text) = fields::scalar_text("run", item, &mut self.cx.sink) else { continue };
            if n == 0 && text.is_empty() {
                self.cx.sink.error("bad-value", item.span, "`run` must name a program");
            }
            argv.push(self.text_template(&text, item.span));
        }
        Some(ShellTask::Argv(argv))
    }

    /// References of a task whose kind is unclear or not built: told although nothing else can be.
    pub(super) fn other_references(&mut self) {
        for key in ["arguments", "prompt", "context", "inputs"] {
            if let Some(node) = self.get(key) {
                self.template(node);
            }
        }
    }
}
