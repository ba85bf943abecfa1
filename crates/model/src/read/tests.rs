//! Stories about workflow files: a text, and what is said of it.

use super::*;
use crate::workflow::{OnDoubt, OnExhausted, ShellTask, TaskKind};

/// A catalog as a project has it: built-in agents, one skill, one server.
fn catalog() -> Catalog {
    let mut catalog = Catalog::builtin();
    catalog.skills.insert("rust-style".into(), "Write Rust.".into());
    let mock = crate::mcp_server::McpServer::of_command("mock-mcp");
    catalog.mcp_servers.insert("mock".into(), mock);
    catalog
}

struct Files;

impl Sources for Files {
    fn read(&self, path: &str) -> Result<String, String> {
        match path {
            "ok.ts" => Ok("return 1".into()),
            _ => Err("no such file".into()),
        }
    }
}

pub(super) fn read(text: &str) -> Parsed {
    parse(text.as_bytes(), "dir/wf.yaml", &Files, &catalog())
}

fn workflow(text: &str) -> Workflow {
    let parsed = read(text);
    parsed.workflow.unwrap_or_else(|| panic!("{:#?}", parsed.diagnostics))
}

/// `line:column code [task] message | help`, one a line.
fn told(parsed: &Parsed) -> String {
    let line = |d: &Diagnostic| {
        let task = d.task.as_ref().map(|t| format!(" [{t}]")).unwrap_or_default();
        let help = d.help.as_ref().map(|h| format!("\n    {h}")).unwrap_or_default();
        let severity = if d.severity == crate::Severity::Error { "" } else { "warning " };
        format!("{}:{} {severity}{}{task} {}{help}\n", d.line, d.column, d.code, d.message)
    };
    parsed.diagnostics.iter().map(line).collect()
}

fn codes(text: &str) -> Vec<&'static str> {
    read(text).diagnostics.iter().map(|d| d.code).collect()
}

fn task_codes(body: &str) -> Vec<&'static str> {
    codes(&format!("tasks: [{{id: a, run: 'true'}}, {{id: t, depends_on: [a], {body}}}]"))
}

#[test]
fn twelve_faults_are_told_at_once() {
    let parsed = read(
        r#"
mcp_servers: { mock: {command: mock-mcp} }
tasks:
  - {id: alpha, run: "echo", depends_on: [gamma]}
  - {id: beta, run: "echo", depends_on: [alpha]}
  - {id: gamma, run: "echo", depends_on: [beta]}
  - {id: delta, run: "echo", depends_on: [alpha]}
  - {id: selfish, run: "echo", depends_on: [selfish]}
  - {id: lonely, run: "echo", depends_on: [zz]}
  - {id: twin, run: "echo"}
  - {id: twin, run: "echo"}
  - {id: hired, agent: nosuch, prompt: "x"}
  - {id: both, tool: "mock:text", arguments: {text: x}, type: code_execution, code: "return 1"}
  - {id: important, run: "echo", priority: "high"}
  - {id: toolish, tool: nocolon}
  - {id: typo, run: "echo", dependson: [twin]}
  - {id: hasty, run: "echo", timeout: -5}
  - {id: "../x", run: "echo"}
edges:
  - {from: twin, to: typo, type: firm}
"#,
    );
    assert!(parsed.workflow.is_none());
    insta::assert_snapshot!(told(&parsed));
}

const SIX: &str = r#"
tasks:
  - id: explore-codebase
    name: "Explore existing codebase"
    agent: code-explorer
    dependencies: []
  - id: gather-requirements
    name: "Gather requirements"
    agent: requirements-analyst
    dependencies: []
  - id: design-architecture
    name: "Design solution architecture"
    agent: architect-supreme
    dependencies: [explore-codebase, gather-requirements]
  - id: implement-core
    name: "Implement core functionality"
    agent: coder
    dependencies: [design-architecture]
  - id: implement-tests
    name: "Write test suite"
    agent: unit-tester
    dependencies: [design-architecture]
  - id: run-tests
    name: "Execute test suite"
    agent: test-runner
    dependencies: [implement-core, implement-tests]
"#;

#[test]
fn six_tasks_read_without_a_word() {
    let parsed = read(SIX);
    assert_eq!(told(&parsed), "");
    let workflow = parsed.workflow.expect("there was no diagnostic");
    assert_eq!(workflow.name, "wf");
    assert_eq!(workflow.tasks.iter().map(|t| t.level).collect::<Vec<_>>(), [0, 0, 1, 2, 2, 3]);
    let design = &workflow.tasks[2];
    assert_eq!(design.depends_on.iter().map(|d| d.task).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((design.retry.max, design.timeout.shown.as_secs(), design.side_effects), (3, 300, true));
    assert_eq!((design.timeout.wall.as_secs(), design.timeout.idle.map(|d| d.as_secs())), (3600, Some(300)));
    let TaskKind::Agent(agent) = &design.kind else { panic!("an agent task") };
    assert_eq!(agent.prompt, Template::Literal("Design solution architecture".into()));
    assert!(agent.append_inputs);
}

#[test]
fn single_faults() {
    for (body, code) in [
        ("type: code_execution, code: 'return 1', sandbox_config: {timeout: 5, memory: 3}", "unknown-key"),
        ("type: code_execution, code: 'return 1', sandbox_config: {timeout: 'soon'}", "bad-duration"),
        ("type: code_execution, code: 'return 1', limit: 3", "unknown-key"),
        ("type: code_execution, code_file: nosuch.ts", "unreadable-file"),
        ("type: code_execution, code: 'return 1', code_file: ok.ts", "conflicting-keys"),
        ("type: code_execution", "missing-key"),
        ("type: shell", "bad-value"),
        ("code: 'return 1'", "missing-key"),
        ("type: code_execution, code: 'return 1', context: {'a b': 1}", "bad-value"),
        ("type: code_execution, code: 'return 1', env: {A: b}", "unknown-key"),
        ("tool: 'mock:list_commits', limit: 1000", "unknown-key"),
        ("tool: 'nosuch:x'", "unknown-server"),
        ("run: 'true', timeout: 'soon'", "bad-duration"),
        ("run: 'true', timeout: 0", "bad-duration"),
        ("run: 'true', side_effects: 'yes please'", "bad-type"),
        ("run: 'true', output_schema: {type: 12}", "bad-schema"),
        ("run: 'true', output_schema: {$ref: 'http://example.invalid/x.json'}", "bad-schema"),
        ("run: 'true', executor: process", "bad-value"),
        ("run: 'true', env: {'A B': c}", "bad-value"),
        ("run: 'true', env: {RADDLE_RUN_ID: c}", "bad-value"),
        ("run: 'true', retry: {on: [exits]}", "bad-value"),
        ("run: 'true', retry: {on: [budget]}", "bad-value"),
        ("run: 'true', retry: 3", "bad-type"),
        ("run: []", "bad-value"),
        ("run: \"a\\0b\"", "bad-value"),
        ("run: ['echo', '$OUTPUT[zz]']", "bad-reference"),
        ("run: ['echo', '$OUTPUT[t]']", "bad-reference"),
        ("run: ['echo', '$OUTPUT[a']", "bad-reference"),
        ("run: ['echo', '$OUTPUT[a].x ?? nonsense']", "bad-reference"),
        ("run: ['echo', '$INPUT[who]']", "bad-reference"),
        ("run: 'echo $OUTPUT[a]'", "bad-reference"),
        ("prompt: x, skills: [nosuch]", "unknown-skill"),
        ("prompt: x, executor: nosuch", "unknown-executor"),
        ("prompt: x, inputs: [a]", "bad-value"),
        ("prompt: x, run: 'true'", "ambiguous-kind"),
        ("name: 'no kind at all'", "missing-key"),
        ("run: 'true', dependencies: []", "conflicting-keys"),
        ("run: 'true', id: b", "duplicate-key"),
    ] {
        assert_eq!(task_codes(body), [code], "{body}");
    }
    for (text, code) in [
        ("tasks: [{id: a, run: x, depends_on: 7}]", "bad-type"),
        ("tasks: [{id: a, run: x}, {id: b, run: x, depends_on: [{task: a, type: firm}]}]", "bad-edge-type"),
        ("tasks: [{id: a, run: x}, {id: b, run: x, depends_on: [a, {task: a, type: soft}]}]", "conflicting-edge"),
        (
            "tasks: [{id: a, run: x}, {id: b, run: x}]\nedges: [{from: a, to: b}, {from: a, to: b, type: soft}]",
            "conflicting-edge",
        ),
        ("tasks: [{id: a, run: x}]\nedges: [{from: a, to: zz}]", "unknown-dependency"),
        ("tasks: [{id: 7, run: x}]", "bad-type"),
        ("tasks: [{run: x}]", "missing-key"),
        ("tasks: [7]", "bad-type"),
        ("tasks: []", "bad-value"),
        ("tasks: {a: 1}", "bad-type"),
        ("name: x", "missing-key"),
        ("tasks: [{id: a, run: x}]\nlimits: {max_parallelism: 0}", "bad-value"),
        ("tasks: [{id: a, run: x}]\nlimits: {budget: {usd: -1}}", "bad-value"),
        ("tasks: [{id: a, run: x}]\nlimits: {budget: {tokens: lots}}", "bad-type"),
        ("tasks: [{id: a, run: x}]\nlimits: {budget: {eur: 1}}", "unknown-key"),
        ("tasks: [{id: a, run: x}]\ninputs: {n: {type: integer, default: x}}", "bad-type"),
        ("tasks: [{id: a, run: x}]\nagents: {b: {cli: nosuch}}", "unknown-cli"),
        ("tasks: [{id: a, run: x}]\nmcp_servers: {b: {args: []}}", "missing-key"),
        ("tasks: [{id: a, run: x}]\noutputs: {b: '$OUTPUT[zz]'}", "bad-reference"),
        ("tasks: [{id: a, run: x}]\nexecution_mode: fast", "bad-value"),
        ("tasks: [{id: a, run: 0777}]", "syntax"),
    ] {
        assert_eq!(codes(text), [code], "{text}");
    }
}

#[test]
fn hints_name_the_way_out() {
    for (body, hint) in [
        ("run: x, dependsOn: [a]", "`depends_on`"),
        ("run: x, outputSchema: {}", "`output_schema`"),
        ("run: x, sideEffects: true", "`side_effects`"),
        ("run: x, timout: 5", "`timeout`"),
        ("tool: 'mock:x', limit: 7", "arguments"),
        ("run: 'echo $OUTPUT[a]'", "$RADDLE_DEPS"),
        ("agent: coderr", "`coder`"),
        ("agent: nosuch", "general"),
        ("prompt: x, executor: nosuch", "worktree"),
    ] {
        let text = format!("tasks: [{{id: a, run: x}}, {{id: t, depends_on: [a], {body}}}]");
        assert!(told(&read(&text)).contains(hint), "{body}: {}", told(&read(&text)));
    }
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (body, key) in [
        ("run: x, resources: {slots: 1}", "slots"),
        ("workflow: sub.yaml, inputs: {n: 1}", "workflow"),
        ("aggregate: all", "aggregate"),
    ] {
        let parsed = read(&format!("tasks: [{{id: a, run: x}}, {{id: t, depends_on: [a], {body}}}]"));
        let one: Vec<_> = parsed.diagnostics.iter().map(|d| (d.code, d.task.as_deref())).collect();
        assert_eq!(one, [("not-yet-supported", Some("t"))], "{body}");
        assert!(parsed.diagnostics[0].message.contains(&format!("`{key}`")), "{}", told(&parsed));
    }
    let parsed = read("tasks: [{id: a, run: x}, {id: t, run: x, when: '$OUTPUT[a] == 1'}]");
    assert!(parsed.diagnostics.iter().any(|d| d.code == "bad-reference" && d.task.as_deref() == Some("t")));
}

#[test]
fn gates_are_read() {
    let read = |body: &str| read(&format!("tasks: [{{id: a, run: x}}, {{id: t, depends_on: [a], {body}}}]"));
    let parsed = read("approve: 'Ship $OUTPUT[a]?', expires: 1h, on_expire: reject, output_schema: {type: object}");
    let workflow = parsed.workflow.expect("valid");
    let TaskKind::Approval(gate) = &workflow.tasks[1].kind else { panic!("a gate") };
    assert_eq!((gate.expires, workflow.tasks[1].kind_name()), (Some(std::time::Duration::from_secs(3600)), "approval"));
    assert!(!workflow.tasks[1].side_effects && workflow.tasks[1].retry.max == 0);
    let workflow = read("run: x, approval: required, on_exhausted: human").workflow.expect("valid");
    assert!(workflow.tasks[1].needs_approval && workflow.tasks[1].on_exhausted == OnExhausted::Human);
    for (body, code, word) in [
        ("approve: 'Ship $OUTPUT[b]?'", "bad-reference", "b"),
        ("approve: ''", "bad-value", "empty"),
        ("approve: 'Ship?', expires: 0", "bad-duration", "1ms"),
        ("approve: 'Ship?', expires: 1h, on_expire: approve", "bad-value", "never a yes"),
        ("approve: 'Ship?', on_expire: reject", "bad-value", "expires"),
        ("approve: 'Ship?', retry: {max: 1}", "unknown-key", "`retry`"),
        ("approve: 'Ship?', approval: required", "unknown-key", "`approval`"),
        ("approve: 'Ship?', permissions: {tools: []}", "unknown-key", "`permissions`"),
        ("run: x, approval: please", "bad-value", "required"),
        ("run: x, on_exhausted: humans", "bad-value", "human"),
        ("run: x, expires: 1h", "unknown-key", "expires"),
    ] {
        let parsed = read(body);
        assert!(parsed.diagnostics.iter().any(|d| d.code == code), "{body}: {}", told(&parsed));
        assert!(told(&parsed).contains(word), "{body}: {}", told(&parsed));
    }
}

#[test]
fn what_may_become_of_a_task_is_judged_before_the_run() {
    let codes_of = |body: &str| codes(&format!("tasks: [{{id: a, run: x}}, {{id: t, depends_on: [a], {body}}}]"));
    for (body, wanted) in [
        ("run: x, when: '$OUTPUT[a] == 1'", &[][..]),
        ("run: x, when: '$OUTPUT[a] = 1'", &["bad-condition"]),
        ("run: x, when: '$OUTPUT[b] == 1'", &["bad-reference"]),
        ("run: x, when: true", &[]),
        ("run: [echo, $ITEM.n, $ITEMS], foreach: '$OUTPUT[a].list', max_parallel: 3", &[]),
        ("run: echo $ITEM, foreach: [1, 2]", &["bad-reference"]),
        ("run: x, foreach: 7", &["bad-type"]),
        ("run: x, max_parallel: 3", &["bad-value"]),
        ("prompt: x, context: shared, foreach: [1]", &["bad-context"]),
        ("run: x, on_exhausted: {replace: {prompt: 'instead of $OUTPUT[a]'}}", &[]),
        ("run: x, on_exhausted: {replace: {prompt: 'instead of $OUTPUT[z]'}}", &["bad-reference"]),
        ("run: x, on_exhausted: {replace: {}}", &["missing-key"]),
        ("run: x, on_exhausted: {replace: {run: y, when: true}}", &["bad-value"]),
        ("run: x, foreach: [1], on_exhausted: {replace: {run: y}}", &["bad-value"]),
        ("run: x, removed: u", &["unknown-key"]),
    ] {
        assert_eq!(codes_of(body), wanted, "{body}");
    }
    assert_eq!(codes("tasks: [{id: t, run: x, foreach: [1]}, {id: t.0, run: y}]"), ["duplicate-id"]);
}

#[test]
fn every_listed_key_is_known() {
    let place = |keys: &[&str], text: &dyn Fn(&str) -> String| {
        for key in keys {
            let parsed = read(&text(key));
            assert!(parsed.diagnostics.iter().all(|d| d.code != "unknown-key"), "{key}: {}", told(&parsed));
            assert!(!parsed.diagnostics.is_empty() || parsed.workflow.is_some());
        }
    };
    let task = |mark: &str| {
        let mark = mark.to_owned();
        move |key: &str| format!("tasks: [{{id: t, {mark}, {key}: {{}}}}]")
    };
    place(keys::WORKFLOW, &|key| format!("{key}: 7"));
    place(keys::LIMITS, &|key| format!("limits: {{{key}: 7}}"));
    place(keys::DEFAULTS, &|key| format!("defaults: {{{key}: 7}}"));
    place(keys::INPUT, &|key| format!("inputs: {{a: {{{key}: 7}}}}"));
    place(keys::AGENT_DEFINITION, &|key| format!("agents: {{a: {{{key}: 7}}}}"));
    place(keys::MCP_SERVER, &|key| format!("mcp_servers: {{a: {{{key}: 7}}}}"));
    place(keys::EDGE, &|key| format!("tasks: [{{id: t, run: x}}]\nedges: [{{{key}: 7}}]"));
    place(keys::TASK, &|key| format!("tasks: [{{run: x, {key}: {{}}}}]"));
    place(keys::AGENT, &task("prompt: x"));
    place(keys::TOOL, &task("tool: 'a:b'"));
    place(keys::CODE, &task("type: code_execution"));
    place(keys::RETRY, &|key| format!("tasks: [{{id: t, run: x, retry: {{{key}: {{}}}}}}]"));
    place(keys::RESOURCES, &|key| format!("tasks: [{{id: t, run: x, resources: {{{key}: {{}}}}}}]"));
    place(keys::ESTIMATE, &|key| format!("tasks: [{{id: t, run: x, estimate: {{{key}: {{}}}}}}]"));
    place(keys::SANDBOX, &|key| format!("tasks: [{{id: t, type: code_execution, sandbox_config: {{{key}: {{}}}}}}]"));
    place(keys::PERMISSIONS, &|key| format!("permissions: {{{key}: 7}}"));
    place(keys::PATHS, &|key| format!("permissions: {{paths: {{{key}: 7}}}}"));
    place(keys::DEPENDENCY, &|key| format!("tasks: [{{id: t, run: x, depends_on: [{{{key}: 7}}]}}]"));
}

#[test]
fn defaults_by_kind() {
    let workflow = workflow(
        r#"
defaults: {model: haiku}
agents: {bird: {cli: codex, skills: [rust-style], tools: [Read]}}
inputs: {who: {type: string, default: you}}
tasks:
  - {id: s, run: [echo, "$INPUT[who]", 5]}
  - {id: g, agent: bird, depends_on: [s], skills: [rust-style]}
  - {id: o, prompt: "see $OUTPUT[s]", model: opus, depends_on: [g], timeout: 1m, retryable: false}
  - {id: c, type: code_execution, code: "return 1", depends_on: [o], sandbox_config: {timeout: 300, memoryLimit: 32}}
  - {id: t, tool: "mock:a:b", depends_on: [{task: c, type: soft}], retry: {initial: 10ms}}
  - {id: r, run: "echo $HOME $$ $OUTPUT", depends_on: [t], retryable: true, on_doubt: fail}
"#,
    );
    let [s, g, o, c, t, r] = workflow.tasks.as_slice() else { panic!("six tasks") };
    assert_eq!((s.retry.max, s.on_doubt, s.executor.as_str()), (0, OnDoubt::Ask, "local"));
    assert!(matches!(&s.kind, TaskKind::Shell(ShellTask::Argv(argv)) if argv.len() == 3));
    let TaskKind::Agent(agent) = &g.kind else { panic!("an agent task") };
    assert_eq!((g.retry.max, agent.model.as_deref(), agent.cli.as_str()), (10, Some("haiku"), "codex"));
    assert_eq!((agent.skills.len(), agent.tools.as_deref().map(<[_]>::len)), (1, Some(1)));
    let TaskKind::Agent(agent) = &o.kind else { panic!("an agent task") };
    assert!(!agent.append_inputs);
    assert_eq!((o.retry.max, o.timeout.wall.as_secs(), o.timeout.idle), (0, 60, None));
    let TaskKind::Code(code) = &c.kind else { panic!("a code task") };
    assert_eq!((code.sandbox_timeout.as_millis(), code.memory_limit_bytes), (300, 32 << 20));
    assert!(c.safe_to_fail() && c.on_doubt == OnDoubt::Rerun);
    let TaskKind::Tool(tool) = &t.kind else { panic!("a tool task") };
    assert_eq!((tool.server.as_str(), tool.tool.as_str(), t.retry.max), ("mock", "a:b", 3));
    assert_eq!(t.depends_on[0].strength, Strength::Soft);
    assert_eq!((r.retry.max, r.on_doubt, r.level), (3, OnDoubt::Fail, 5));
}

/// A workflow with these permissions, and a task of this body.
fn granted(permissions: &str, body: &str) -> Parsed {
    read(&format!("permissions: {permissions}\ntasks: [{{id: t, {body}}}]"))
}

#[test]
fn a_task_asks_for_more_than_there_is() {
    let parent = "{tools: [Read, Grep], paths: {read: [./w/**], write: []}, deny: [./w/secrets/**], models: [haiku], \
                  cost_budget: 0.1, network: none}";
    for (asked, field, value) in [
        ("{tools: [Read, Bash]}", "permissions.tools", "`Bash`"),
        ("{paths: {read: [/etc/**]}}", "permissions.paths.read", "`/etc/**`"),
        ("{paths: {read: [./w/../x]}}", "permissions.paths.read", "`./x`"),
        ("{paths: {write: [./w/out]}}", "permissions.paths.write", "`./w/out`"),
        ("{models: [haiku, sonnet]}", "permissions.models", "`sonnet`"),
        ("{cost_budget: 0.20}", "permissions.cost_budget", "`0.2`"),
        ("{network: full}", "permissions.network", "`full`"),
        ("{preset: read-only, network: none}", "permissions.tools", "`Glob`"),
        ("{delegate: {tools: [Edit]}}", "delegate of permissions.tools", "`Edit`"),
    ] {
        let parsed = granted(parent, &format!("prompt: x, model: haiku, permissions: {asked}"));
        let wide = parsed.diagnostics.iter().find(|d| d.code == "permission-widened").expect(asked);
        assert_eq!(wide.task.as_deref(), Some("t"));
        assert!(wide.message.contains(field) && wide.message.contains(value), "{}", told(&parsed));
        assert!(wide.help.is_some() && parsed.workflow.is_none());
    }
    for asked in ["{}", "{tools: []}", "{paths: {read: [./w/a/**]}}", "{preset: minimal}", "{deny: [./w/more/**]}"] {
        let parsed = granted(parent, &format!("prompt: x, model: haiku, permissions: {asked}"));
        assert!(parsed.workflow.is_some(), "{asked}: {}", told(&parsed));
    }
}

#[test]
fn permissions_that_mean_nothing() {
    for (permissions, code) in [
        ("[Read]", "bad-type"),
        ("{tools: Read}", "bad-type"),
        ("{tools: [7]}", "bad-type"),
        ("{tools: [Levitate]}", "unknown-tool"),
        ("{tools: [read]}", "unknown-tool"),
        ("{tools: ['Bash(ls; id)']}", "bad-value"),
        ("{tools: ['Read(./x)']}", "bad-value"),
        ("{tools: ['nosuch:x']}", "unknown-server"),
        ("{tools: [mcp__nosuch__x]}", "unknown-server"),
        ("{paths: {read: ['**/.env']}}", "bad-value"),
        ("{paths: {execute: []}}", "unknown-key"),
        ("{deny: ['~/x']}", "bad-value"),
        ("{network: 'some'}", "bad-value"),
        ("{preset: all}", "bad-value"),
        ("{cost_budget: -1}", "bad-value"),
        ("{cost_budget: lots}", "bad-type"),
        ("{cost_budget: {usd: 1}}", "bad-type"),
        ("{delegate: {delegate: {}}}", "unknown-key"),
        ("{path: {}}", "unknown-key"),
    ] {
        let parsed = granted(permissions, "prompt: x, model: haiku");
        assert_eq!(parsed.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), [code], "{permissions}");
    }
    assert!(told(&granted("{tools: [Levitate]}", "run: x")).contains("Read, Write, Edit, Bash, Grep, Glob"));
}

#[test]
fn a_task_does_what_its_grant_has() {
    for (permissions, body, fits) in [
        ("{tools: [Read]}", "run: ls", false),
        ("{tools: [Bash]}", "run: 'ls; id'", true),
        ("{tools: ['Bash(ls *)']}", "run: 'ls -l'", true),
        ("{tools: ['Bash(ls *)']}", "run: [ls, -l, 'a b']", true),
        ("{tools: ['Bash(ls *)']}", "run: 'ls; id'", false),
        ("{tools: ['Bash(ls *)']}", "run: [id]", false),
        ("{tools: [Read]}", "tool: 'mock:x'", false),
        ("{tools: ['mock:x']}", "tool: 'mock:x'", true),
        ("{tools: [mcp__mock]}", "tool: 'mock:x'", true),
        ("{models: [haiku]}", "prompt: x, model: sonnet", false),
        ("{models: [haiku]}", "prompt: x", false),
        ("{models: [sonnet]}", "prompt: x, model: claude-sonnet-4.5", true),
        ("{tools: []}", "type: code_execution, code: return 1", true),
    ] {
        let parsed = granted(permissions, body);
        let codes: Vec<_> = parsed.diagnostics.iter().map(|d| d.code).collect();
        let wanted: &[&str] = if fits { &[] } else { &["permission-denied"] };
        assert_eq!(codes, wanted, "{permissions} {body}: {}", told(&parsed));
    }
}

#[test]
fn code_that_may_call_tools_has_effects_unless_it_says_otherwise() {
    for (permissions, more, effects) in [
        ("{}", "", false),
        ("{tools: [Read]}", "", false),
        ("{tools: ['mock:x']}", "", false),
        ("{tools: ['mock:x']}", ", permissions: {tools: ['mock:x']}", true),
        ("{tools: ['mock:x']}", ", permissions: {tools: []}", false),
        ("{tools: ['mock:*']}", ", intent: find, side_effects: false", false),
    ] {
        let parsed = granted(permissions, &format!("type: code_execution, code: return 1{more}"));
        let workflow = parsed.workflow.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
        assert_eq!(workflow.tasks[0].side_effects, effects, "{permissions} {more}");
    }
}

#[test]
fn an_agent_has_the_tools_that_both_grant_and_definition_have() {
    let tools = |permissions: &str, agent: &str| {
        let text = format!(
            "permissions: {permissions}\nagents: {{bird: {{tools: [Read, 'Bash(git *)', WebFetch, Own]}}}}\n\
             tasks: [{{id: t, agent: {agent}, prompt: x}}]"
        );
        let workflow = workflow(&text);
        let TaskKind::Agent(agent) = &workflow.tasks[0].kind else { panic!("an agent task") };
        agent.tools.clone().map(|tools| tools.join(" "))
    };
    assert_eq!(tools("{}", "general"), None);
    assert_eq!(tools("{}", "bird").as_deref(), Some("Read Bash(git *) WebFetch Own"));
    assert_eq!(tools("{tools: [Read, Grep]}", "general").as_deref(), Some("Read Grep"));
    assert_eq!(tools("{tools: [Bash, Grep]}", "bird").as_deref(), Some("Bash(git *)"));
    assert_eq!(tools("{tools: ['Bash(git log *)', Read]}", "bird").as_deref(), Some("Bash(git log *) Read"));
    assert_eq!(tools("{tools: ['mock:x']}", "general").as_deref(), Some("mcp__mock__x"));
    assert_eq!(tools("{network: none}", "bird").as_deref(), Some("Read Bash(git *) Own"));
    assert_eq!(tools("{tools: []}", "bird").as_deref(), Some(""));
}

#[test]
fn warnings_do_not_stop_a_workflow() {
    let parsed = read(
        r#"
tasks:
  - {id: net, type: code_execution, code: "const r = await fetch('http://x'); return 1", level: 3}
  - {id: fine, type: code_execution, code: "return 'fetch and process are only words here'", depends_on: [net]}
  - {id: alone, run: x}
"#,
    );
    assert!(parsed.workflow.is_some());
    let told: Vec<_> = parsed.diagnostics.iter().map(|d| (d.code, d.task.as_deref().unwrap_or(""))).collect();
    assert_eq!(told, [("lint-effect", "net"), ("ignored-key", "net"), ("orphan", "alone")]);
}

#[test]
fn the_hash_is_of_the_meaning() {
    let hash = |text: &str, name: &str| parse(text.as_bytes(), name, &Files, &catalog()).workflow.expect("valid").hash;
    let plain = hash("tasks:\n  - id: a\n    run: x\n    priority: 5\n", "wf.yaml");
    assert_eq!(plain, hash("# words\n\ntasks: [{priority: 5, run: 'x', id: a}]", "wf.yml"));
    assert_eq!(plain, hash(r#"{"tasks": [{"id": "a", "run": "x", "priority": 5}]}"#, "wf.json"));
    assert_ne!(plain, hash("tasks: [{priority: 6, run: 'x', id: a}]", "wf.yaml"));
    assert_ne!(plain, hash("name: b\ntasks: [{priority: 5, run: 'x', id: a}]", "wf.yaml"));
}

#[test]
fn places_are_told_in_lines_and_characters() {
    for text in ["name: ü\ntasks: [{id: a, run: x, bäd: 1}]", "\u{feff}name: ü\r\ntasks: [{id: a, run: x, bäd: 1}]\r\n"]
    {
        let parsed = read(text);
        let d = &parsed.diagnostics[0];
        assert_eq!((d.line, d.column, &text[d.span.clone()]), (2, 25, "bäd"));
    }
    let json = "{\"tasks\": [\n  {\"id\": \"a\",\n   \"run\": 5}]}";
    let d = &parse(json.as_bytes(), "-", &Files, &catalog()).diagnostics[0];
    assert_eq!((d.line, d.column, &json[d.span.clone()]), (3, 11, "5"));
}

#[test]
fn a_file_of_nothing_but_faults_is_soon_judged() {
    let keys: String = (0..20_000).map(|n| format!("kye{n}: 1, ")).collect();
    let deps: String = (0..20_000).map(|n| format!("  - {{id: t{n}, run: x, depends_on: [u{n}]}}\n")).collect();
    for text in [format!("tasks: [{{id: a, run: x, {keys}}}]"), format!("tasks:\n{deps}")] {
        let begun = std::time::Instant::now();
        let parsed = read(&text);
        assert_eq!(parsed.diagnostics.len(), 1001);
        assert!(parsed.diagnostics.iter().any(|d| d.code == "too-many"));
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}

#[test]
fn conversations_are_continued_by_those_who_can() {
    let told_of = |tasks: &str| told(&read(&format!("agents: {{k: {{cli: codex}}}}\ntasks: [{tasks}]")));
    let good = "{id: a, prompt: x}, {id: b, depends_on: [a], prompt: x, context: {resume: a}}";
    assert_eq!(told_of(good), "");
    for (tasks, words) in [
        ("{id: a, run: x}, {id: b, depends_on: [a], prompt: x, context: {resume: a}}", "no agent task"),
        ("{id: a, agent: k}, {id: b, depends_on: [a], prompt: x, context: {resume: a}}", "same agent CLI"),
        ("{id: a, prompt: x}, {id: b, prompt: x, context: {resume: a}}", "does not come before"),
        ("{id: a, prompt: x}, {id: b, prompt: x, context: {resume: aa}}", "did you mean"),
        ("{id: a, prompt: x}, {id: b, prompt: x, context: {resumes: a}}", "`resume`"),
        ("{id: a, prompt: x, context: shared}, {id: b, prompt: x, context: shared}", "neither comes first"),
        ("{id: a, prompt: x, context: old}", "fresh"),
    ] {
        assert!(told_of(tasks).contains(words), "{tasks}: {}", told_of(tasks));
    }
    let shared = workflow(
        "tasks: [{id: b, depends_on: [m], prompt: x, context: shared}, {id: m, run: x, depends_on: [a]},
                 {id: a, prompt: x, context: shared}]",
    );
    let TaskKind::Agent(agent) = &shared.tasks[0].kind else { panic!("an agent") };
    assert_eq!(agent.context, crate::workflow::AgentContext::Shared(Some(2)));
}

#[test]
fn code_that_may_call_tools_has_side_effects() {
    let effects = |permissions: &str, own: &str| {
        let text = format!(
            "mcp_servers: {{git: {{command: g}}}}\npermissions: {permissions}\n\
             tasks: [{{id: t, type: code_execution, code: return 1{own}}}]"
        );
        let parsed = parse(text.as_bytes(), "wf.yaml", &NoSources, &Catalog::builtin());
        let task = parsed.workflow.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics)).tasks.remove(0);
        (task.may_call_tools(), task.side_effects, task.safe_to_fail())
    };
    let (calls, pure) = ((true, true, false), (false, false, true));
    assert_eq!(effects("{}", ", permissions: {tools: ['git:log']}"), calls);
    assert_eq!(effects("{tools: ['git:*']}", ", intent: list commits"), calls);
    assert_eq!(effects("{tools: ['git:*']}", ", permissions: {tools: [mcp__git__log]}"), calls);
    assert_eq!(effects("{}", ", permissions: {tools: ['git:log']}, side_effects: false"), (true, false, true));
    // Seeing is not calling, and what all tasks are granted is nothing that this one has asked for.
    assert_eq!(effects("{}", ", intent: list commits"), pure);
    assert_eq!(effects("{tools: [Read]}", ", intent: list commits"), pure);
    assert_eq!(effects("{tools: ['git:*']}", ""), pure);
}
