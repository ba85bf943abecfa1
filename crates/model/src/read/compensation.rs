//! `compensate:`, `saga:` and `on_failure: compensate`: what undoes a task, and what cannot be undone although it might
//! have to. It does not know in which order tasks will complete.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fields;
use super::header::Header;
use super::task::{self, Draft, Kind};
use super::{Reading, conversations, kinds, permissions, retry};
use crate::diagnostic::{Sink, quoted};
use crate::graph::{self, Neighbours};
use crate::keys;
use crate::permissions::Permissions;
use crate::references::{Names, Use};
use crate::syntax::{Entry, Node, Span};
use crate::workflow::{
    Compensation, Isolation, OnDoubt, OnFailure, OutputFormat, Resources, Task, TaskIndex, TaskKind,
};

/// The word for files that are put back.
const RESTORE: &str = "restore";
/// Files that one task may have put back.
const MAX_FILES: usize = 1000;
/// Among more members nobody looks for the one that is always last.
const MANY_MEMBERS: usize = 200;

pub(super) fn saga(node: &Node<'_>, sink: &mut Sink<'_>) -> Option<String> {
    let name = fields::plain_text("saga", node, sink)?;
    if name.is_empty() || name.len() > 128 {
        sink.error("bad-value", node.span, "the name of a saga has 1 to 128 bytes").help("give the saga a short name");
    }
    Some(name.to_owned())
}

/// Reads what undoes `task`, which is complete but for this. `granted` is its grant before its agent's definition
/// narrowed it, which has nothing to do with what undoes it.
pub(super) fn read(
    entries: &[Entry<'_>],
    task: &Task,
    granted: Arc<Permissions>,
    header: &Header,
    names: &Names<'_>,
    uses: &mut Vec<Use>,
    cx: &mut Reading<'_, '_>,
) -> Option<Compensation> {
    let Some(entry) = entries.iter().find(|entry| entry.key == "compensate") else {
        if task.on_doubt == OnDoubt::Compensate {
            let span = entries.iter().find(|entry| entry.key == "on_doubt").map(|entry| entry.value.span);
            cx.sink
                .error("missing-key", span.unwrap_or_default(), "`on_doubt: compensate` needs `compensate`")
                .help("say under `compensate` what undoes the task");
        }
        return None;
    };
    if let Some(word) = entry.value.text() {
        if word != RESTORE {
            cx.sink.error("bad-value", entry.value.span, format!("{} undoes nothing", quoted(word))).help(
                "`restore`, or a task body: `{run: …}`, `{tool: …, arguments: …}`, `{type: code_execution, code: …}`",
            );
            return None;
        }
        return restorable(entries, task, entry, cx).then_some(Compensation::Restore);
    }
    let body = fields::map("compensate", &entry.value, &mut cx.sink)?;
    let errors = cx.sink.errors();
    let mut own = Vec::new();
    let compensation = body_of(body, entry.value.span, task, granted, header, names, &mut own, cx);
    // It may look at what it undoes.
    let itself = names.tasks.get(task.id.as_str());
    uses.extend(own.into_iter().filter(|one| Some(&one.target) != itself));
    compensation.filter(|_| cx.sink.errors() == errors).map(|task| Compensation::Task(Box::new(task)))
}

#[expect(clippy::too_many_arguments, reason = "what reading any task takes")]
fn body_of(
    entries: &[Entry<'_>],
    span: Span,
    task: &Task,
    granted: Arc<Permissions>,
    header: &Header,
    names: &Names<'_>,
    uses: &mut Vec<Use>,
    cx: &mut Reading<'_, '_>,
) -> Option<Task> {
    let kind = kind(entries, span, cx)?;
    let (mut timeout, mut retry, mut env) = (None, retry::PartialRetry::default(), Vec::new());
    for entry in entries {
        let (key, node) = (&*entry.key, &entry.value);
        match key {
            "timeout" => timeout = fields::limit(key, node, fields::BareNumber::Seconds, &mut cx.sink),
            "retry" => retry = retry::read(node, &mut cx.sink),
            "env" if kind == Kind::Shell => env = task::env(node, names, uses, cx),
            // Code has tools by what its task asks for, and this is no task.
            key if key != "intent" && kind.keys().contains(&key) => {}
            _ => keys::unknown(entry, "`compensate`", &[kind.keys(), keys::COMPENSATION], &mut cx.sink),
        }
    }
    let mut body = kinds::Body { entries, header, names, uses, cx };
    let mut read = match kind {
        Kind::Tool => TaskKind::Tool(Box::new(body.tool()?)),
        Kind::Code => TaskKind::Code(Box::new(body.code(span)?)),
        _ => TaskKind::Shell(body.shell()?),
    };
    let permissions = permissions::fit(granted, &mut read, entries, header, (span, &mut cx.sink));
    // A shell command undoes in a container what was done in one; calls of tools and code have places of their own.
    let inside = (kind == Kind::Shell && task.isolation == Isolation::Container).then_some(Isolation::Container);
    Some(Task {
        timeout: task::timeout(&read, timeout.or(header.defaults.timeout)),
        retry: retry.complete(None, &header.defaults.retry, 0),
        side_effects: true,
        output_format: OutputFormat::Text,
        output_schema: None,
        env,
        executor: "local".to_owned(),
        isolation: conversations::isolation("local", inside, span, cx)?,
        resources: if kind == Kind::Shell { task.resources } else { Resources::default() },
        permissions,
        kind: read,
        saga: None,
        writes: Vec::new(),
        compensate: None,
        ..task.clone()
    })
}

fn kind(entries: &[Entry<'_>], span: Span, cx: &mut Reading<'_, '_>) -> Option<Kind> {
    let mut kinds: Vec<Kind> = entries.iter().filter_map(|entry| Kind::of_key(&entry.key)).collect();
    kinds.dedup();
    match kinds.as_slice() {
        [kind @ (Kind::Tool | Kind::Code | Kind::Shell)] => Some(*kind),
        [] => {
            cx.sink
                .error("missing-key", span, "nothing says what `compensate` does")
                .help("give it one of run, tool, type: code_execution; or write `compensate: restore`");
            None
        }
        [_] => {
            cx.sink
                .error("bad-value", span, "only a command, a tool or code undoes a task")
                .help("what undoes a task must do the same whenever it is repeated");
            None
        }
        _ => {
            cx.sink
                .error("ambiguous-kind", span, "`compensate` does more than one thing")
                .help("it is exactly one of run, tool and type: code_execution");
            None
        }
    }
}

/// Whether what a task writes can be put back: files that are named one by one, below the folder that it works in.
fn restorable(entries: &[Entry<'_>], task: &Task, entry: &Entry<'_>, cx: &mut Reading<'_, '_>) -> bool {
    let sink = &mut cx.sink;
    let errors = sink.errors();
    let writes = entries.iter().find(|entry| entry.key == "writes");
    let span = writes.map_or(entry.value.span, |entry| entry.value.span);
    if task.writes.is_empty() {
        sink.error("missing-key", span, "`restore` puts back what `writes` names, and that names nothing")
            .help("list the files under `writes`, as in `writes: [out/report.md]`");
    }
    if task.writes.len() > MAX_FILES {
        sink.error("bad-value", span, format!("more than {MAX_FILES} files cannot be put back"));
    }
    if task.executor == "worktree" {
        sink.error(
            "conflicting-keys",
            span,
            "`restore` is for files in the run's own folder, and this task has a work tree",
        )
        .help(
            "what is not merged changes nothing; leave `compensate` out, or undo the merge by `compensate: {run: …}`",
        );
    }
    for (n, path) in task.writes.iter().enumerate() {
        let fault = match path.as_str() {
            path if path.starts_with('/') => "it is absolute",
            path if path.split('/').any(|part| part == "..") => "it leaves the folder by `..`",
            path if path.is_empty() || path.ends_with('/') || path.split('/').any(|p| p.is_empty() || p == ".") => {
                "it is no plain path of a file"
            }
            path if path.contains(['*', '?']) => "files are named one by one",
            path if path.contains('\0') || path.len() > 4000 => "no file has such a name",
            path if task.writes[..n].iter().any(|before| before == path) => "it stands there twice",
            _ => continue,
        };
        sink.error("bad-path", span, format!("{} cannot be put back: {fault}", quoted(path)))
            .help("write it as a path below the folder that the task works in, as in out/report.md");
    }
    sink.errors() == errors
}

impl Reading<'_, '_> {
    /// Says which members of sagas cannot be undone, and what is declared in vain.
    pub(super) fn sagas(&mut self, header: &Header, drafts: &[Draft<'_>], tasks: &[Option<Task>]) {
        let mut scopes: BTreeMap<Option<&str>, Vec<TaskIndex>> = BTreeMap::new();
        for (n, task) in (0..).zip(tasks) {
            let Some(task) = task else { continue };
            let draft = &drafts[n as usize];
            match (header.on_failure, &task.saga) {
                (OnFailure::Compensate, saga) => {
                    scopes.entry(None).or_default().push(n);
                    if saga.is_some() {
                        self.sink
                            .warning(
                                "one-scope",
                                draft.span,
                                "`on_failure: compensate` makes the whole workflow one scope",
                            )
                            .help("leave `saga` out, or `on_failure`")
                            .task(draft.id);
                    }
                }
                (OnFailure::Continue, Some(saga)) => scopes.entry(Some(saga)).or_default().push(n),
                (OnFailure::Continue, None) if task.compensate.is_some() && task.on_doubt != OnDoubt::Compensate => {
                    self.sink
                        .warning("unused-compensation", draft.span, "nothing ever asks for this task to be undone")
                        .help("give it and the tasks that belong to it a `saga`, or say `on_failure: compensate`")
                        .task(draft.id);
                }
                (OnFailure::Continue, None) => {}
            }
        }
        if scopes.is_empty() {
            return;
        }
        let dependencies = Neighbours::new(drafts.iter().map(|draft| draft.dependencies.iter().map(|edge| edge.task)));
        let order = graph::order(&dependencies, &dependencies.reversed());
        for members in scopes.values() {
            self.not_undone(members, drafts, tasks, (&dependencies, &order));
        }
    }

    fn not_undone(
        &mut self,
        members: &[TaskIndex],
        drafts: &[Draft<'_>],
        tasks: &[Option<Task>],
        graph: (&Neighbours, &graph::Order),
    ) {
        let lacks = |n: &&TaskIndex| {
            tasks[**n as usize].as_ref().is_some_and(|task| task.side_effects && task.compensate.is_none())
        };
        for &member in members.iter().filter(lacks) {
            // Who comes after all others can only fail, and has nothing to be undone then.
            let questions: Vec<_> = match members.len() {
                0..MANY_MEMBERS => members.iter().filter(|m| **m != member).map(|m| (member, *m)).collect(),
                _ => Vec::new(),
            };
            let is_last = !questions.is_empty() && graph::non_ancestors(&questions, graph.0, graph.1).is_empty();
            if is_last || members.len() == 1 {
                continue;
            }
            let draft = &drafts[member as usize];
            self.sink
                .warning(
                    "not-compensated",
                    draft.span,
                    format!("what {} does is not undone when its saga fails", quoted(draft.id)),
                )
                .help("say what undoes it under `compensate`, or `side_effects: false` if there is nothing to undo")
                .task(draft.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::catalog::Catalog;
    use crate::read::{NoSources, Parsed, parse};
    use crate::workflow::{Compensation, TaskKind};

    fn read(text: &str) -> Parsed {
        parse(text.as_bytes(), "wf.yaml", &NoSources, &Catalog::builtin())
    }

    /// Codes with the tasks that they are about.
    fn told(text: &str) -> Vec<(String, String)> {
        let diagnostics = read(text).diagnostics;
        diagnostics.into_iter().map(|d| (d.code.to_owned(), d.task.unwrap_or_default())).collect()
    }

    fn of_one(body: &str) -> Vec<String> {
        let text = format!("tasks: [{{id: a, run: x}}, {{id: t, saga: s, run: x, depends_on: [a], {body}}}]");
        told(&text).into_iter().map(|(code, _)| code).collect()
    }

    #[test]
    fn what_undoes_a_task_is_one_thing_that_can_be_repeated() {
        for body in [
            "compensate: {run: x}",
            "compensate: {run: [echo, '$OUTPUT[t].id', '$OUTPUT[a]'], env: {E: '$OUTPUT[t]'}, retry: {max: 2}, timeout: 5}",
            "compensate: {type: code_execution, code: 'return 1', context: {v: '$OUTPUT[t]'}}",
            "compensate: restore, writes: [out/new.txt, .hidden]",
            "compensate: restore, writes: [x], on_doubt: compensate",
        ] {
            assert_eq!(of_one(body), [""; 0], "{body}");
        }
        for (body, code) in [
            ("compensate: rollback", "bad-value"),
            ("compensate: 7", "bad-type"),
            ("compensate: {}", "missing-key"),
            ("compensate: {run: x, tool: 'a:b'}", "ambiguous-kind"),
            ("compensate: {prompt: 'undo it'}", "bad-value"),
            ("compensate: {run: x, depends_on: [a]}", "unknown-key"),
            ("compensate: {run: 'echo $OUTPUT[t]'}", "bad-reference"),
            ("compensate: {tool: 'nowhere:undo'}", "unknown-server"),
            ("compensate: restore", "missing-key"),
            ("on_doubt: compensate", "missing-key"),
        ] {
            assert_eq!(of_one(body), [code], "{body}");
        }
        let later = "tasks: [{id: t, saga: s, run: x, compensate: {run: [echo, '$OUTPUT[b]']}}, {id: b, run: x, depends_on: [t]}]";
        assert_eq!(told(later), [("bad-reference".to_owned(), "t".to_owned())]);
    }

    #[test]
    fn only_files_below_the_folder_are_put_back() {
        for path in ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "out/", "*.txt"] {
            assert_eq!(of_one(&format!("compensate: restore, writes: ['{path}']")), ["bad-path"], "{path}");
        }
        assert_eq!(of_one("compensate: restore, writes: [x, x]"), ["bad-path"]);
        assert_eq!(of_one("compensate: restore, writes: [x], executor: worktree"), ["conflicting-keys"]);
    }

    #[test]
    fn effects_that_stay_are_warned_of() {
        let saga = |rest: &str| {
            told(&format!("tasks: [{{id: a, saga: s, run: x{rest}}}, {{id: b, saga: s, run: x, depends_on: [a]}}]"))
        };
        assert_eq!(saga(""), [("not-compensated".to_owned(), "a".to_owned())]);
        // The last one has nothing to be undone when it fails.
        assert_eq!(saga(", compensate: {run: x}"), []);
        assert_eq!(saga(", side_effects: false"), []);
        let two = "tasks: [{id: a, run: x, compensate: {run: x}}, {id: b, run: x, depends_on: [a]}]";
        assert_eq!(told(two), [("unused-compensation".to_owned(), "a".to_owned())]);
        assert_eq!(told(&format!("on_failure: compensate\n{two}")), []);
        let both = "on_failure: compensate\ntasks: [{id: a, saga: s, run: x, compensate: {run: x}}, {id: b, run: x, depends_on: [a]}]";
        assert_eq!(told(both), [("one-scope".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn what_undoes_a_task_is_held_to_what_holds_the_task() {
        let text = "permissions: {tools: ['Bash(make *)']}\ntasks: [{id: a, run: make x}, {id: t, saga: s, run: make y, depends_on: [a], compensate: {run: rm y}}]";
        assert_eq!(told(text), [("permission-denied".to_owned(), "t".to_owned())]);
        let text = "tasks: [{id: t, saga: s, prompt: p, cwd: sub, timeout: 9, compensate: {run: x, timeout: 5}}]";
        let workflow = read(text).workflow.expect("valid");
        let Some(Compensation::Task(undo)) = &workflow.tasks[0].compensate else { panic!("there is one") };
        assert!(matches!(undo.kind, TaskKind::Shell(_)));
        assert_eq!(
            (undo.executor.as_str(), undo.cwd.as_deref(), undo.timeout.wall.as_secs()),
            ("local", Some("sub"), 5)
        );
        assert_eq!(workflow.scopes().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn who_writes_one_file_is_known() {
        let text = "tasks: [{id: a, run: x, writes: [out/f, g]}, {id: b, run: x, cwd: out, writes: [./f], depends_on: [a]}, {id: c, run: x, cwd: out, writes: [../h, g], depends_on: [a]}]";
        let files = read(text).workflow.expect("valid").written_files();
        assert_eq!(files, [vec![0, 1], vec![0], vec![2, 3]]);
    }
}
