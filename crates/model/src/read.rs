//! Text to workflow, or to everything that is wrong with it: the way through syntax, keys, references and graph. It
//! does not know files; whoever calls it brings texts.

mod code;
mod compensation;
mod conversations;
mod course;
mod edges;
mod fallbacks;
pub(crate) mod fields;
mod gates;
mod header;
mod invariants;
mod kinds;
mod permissions;
mod resources;
mod retry;
mod secrets;
mod servers;
mod task;

use std::collections::{HashMap, HashSet};

use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Sink, quoted};
use crate::graph::{self, Neighbours};
use crate::keys;
use crate::references::{self, Names, Use};
use crate::syntax::{self, Data, Entry, Node, Span};
use crate::template::Template;
use crate::workflow::{Dependency, Strength, Task, TaskIndex, Workflow};
use edges::Edge;
use header::Header;
use task::Draft;

/// Texts that a workflow names by path.
pub trait Sources {
    /// The text of a file, relative to the workflow's base folder; the error is a lowercase fragment.
    fn read(&self, path: &str) -> Result<String, String>;

    /// What is wrong with the syntax of a code task; who cannot tell finds nothing.
    fn code_fault(&self, _code: &str) -> Option<CodeFault> {
        None
    }
}

/// A code task that is not TypeScript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeFault {
    /// What is wrong, in words.
    pub message: String,
    /// Line and column within the code, both from 1.
    pub place: Option<(u32, u32)>,
}

/// No files at all.
pub struct NoSources;

impl Sources for NoSources {
    fn read(&self, _: &str) -> Result<String, String> {
        Err("files cannot be read here".into())
    }
}

/// What became of a text.
#[derive(Debug)]
pub struct Parsed {
    /// There when no diagnostic is an error.
    pub workflow: Option<Workflow>,
    /// In the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// What every reader needs.
struct Reading<'c, 't> {
    text: &'t str,
    sink: Sink<'t>,
    catalog: &'c Catalog,
    sources: &'c dyn Sources,
    /// Digests of output schemas that were found to be sound; the same one in many tasks is compiled once.
    sound_schemas: HashSet<blake3::Hash>,
    /// The same of code.
    sound_code: HashSet<blake3::Hash>,
    /// Whether the text is a definition that a run has changed: only those hold the marks of [`crate::patch`].
    changed: bool,
}

/// Reads and validates a workflow. `source_name` tells the format (`.json`) and the default name (its stem).
pub fn parse(text: &[u8], source_name: &str, sources: &dyn Sources, catalog: &Catalog) -> Parsed {
    read(text, source_name, sources, catalog, false)
}

/// The same for a definition that a run has changed (see [`crate::patch`]): its tasks keep their places, also those that
/// were taken out, and items of a `foreach` are tasks.
pub fn parse_changed(text: &[u8], source_name: &str, sources: &dyn Sources, catalog: &Catalog) -> Parsed {
    read(text, source_name, sources, catalog, true)
}

fn read(text: &[u8], source_name: &str, sources: &dyn Sources, catalog: &Catalog, changed: bool) -> Parsed {
    let text = match syntax::text_of(text) {
        Ok(text) => text,
        Err(fault) => {
            // Lines before the fault are counted where the beginning is readable text.
            let readable = text.get(..fault.span.start as usize).unwrap_or_default();
            let readable = std::str::from_utf8(readable).unwrap_or_default();
            let mut sink = Sink::new(readable);
            tell(fault, &mut sink);
            return Parsed { workflow: None, diagnostics: sink.finish() };
        }
    };
    let tree = syntax::parse(text, source_name);
    let (sound_schemas, sound_code) = (HashSet::new(), HashSet::new());
    let mut cx = Reading { text, sink: Sink::new(text), catalog, sources, sound_schemas, sound_code, changed };
    tree.faults.into_iter().for_each(|fault| tell(fault, &mut cx.sink));
    let workflow = tree.root.as_ref().and_then(|root| cx.workflow(root, source_name));
    let workflow = workflow.filter(|_| cx.sink.errors() == 0);
    Parsed { workflow, diagnostics: cx.sink.finish() }
}

fn tell(fault: syntax::Fault, sink: &mut Sink<'_>) {
    let note = sink.error(fault.code, fault.span, fault.message);
    if let Some(help) = fault.help {
        note.help(help);
    }
}

impl<'c> Reading<'c, '_> {
    fn workflow(&mut self, root: &Node<'_>, source_name: &str) -> Option<Workflow> {
        let Data::Map(entries) = &root.data else {
            let message = format!("a workflow is a mapping with `tasks:`, not {}", root.kind());
            self.sink.error("bad-type", root.span, message).help("begin with `tasks:` and a list of tasks");
            return None;
        };
        secrets::check(entries, self);
        let header = header::read(entries, self.catalog, &mut self.sink);
        let nodes = self.task_list(root)?;
        let marks = self.marks(nodes);
        let ids = self.ids(nodes, &marks);
        let mut index = HashMap::with_capacity(nodes.len());
        for (n, id) in ids.iter().enumerate() {
            let Some((id, span)) = id else { continue };
            if index.contains_key(id) {
                self.sink
                    .error("duplicate-id", *span, format!("the id {} is taken by an earlier task", quoted(id)))
                    .help("every id is used once")
                    .task(id);
            } else {
                index.insert(*id, n as TaskIndex);
            }
        }
        self.item_names(nodes, &ids, &marks);
        let stands_for = self.successions(nodes, &mut index);
        let names = Names { tasks: &index, inputs: &header.inputs, has_item: false };
        let mut drafts = Vec::with_capacity(nodes.len());
        let mut tasks = Vec::with_capacity(nodes.len());
        let mut replacements = Vec::new();
        for (n, (node, id)) in nodes.iter().zip(&ids).enumerate() {
            if let Some(mark) = &marks[n] {
                drafts.push(mark.draft(node.span));
                tasks.push(mark.tombstone());
                continue;
            }
            // A task without a usable id keeps its place, so that indexes are positions.
            let (id, span) = id.unwrap_or(("", node.span));
            let Data::Map(fields) = &node.data else {
                drafts.push(Draft {
                    id,
                    span,
                    dependencies: Vec::new(),
                    is_connected: true,
                    uses: Vec::new(),
                    fallback: None,
                });
                tasks.push(None);
                continue;
            };
            self.sink.task = (!id.is_empty()).then(|| id.to_owned());
            let (draft, task) = task::read(fields, id, span, &header, &names, self);
            replacements.extend(self.replacement(fields, &draft, &header, &names));
            drafts.push(draft);
            tasks.push(task);
        }
        self.sink.task = None;
        self.edges(root, &names, &mut drafts);
        fallbacks::connect(&mut drafts, self);
        self.items(&marks, &names, &mut drafts, &mut tasks);
        stands_for.iter().for_each(|succession| succession.note(&mut tasks));
        // Bodies that may stand for a task one day are judged in its place, and are no tasks yet.
        drafts.extend(replacements);
        let levels = self.graph(&mut drafts);
        drafts.truncate(nodes.len());
        self.conversations(&drafts, &mut tasks);
        self.sagas(&header, &drafts, &tasks);
        let outputs = self.outputs(root, &names);
        let invariants = invariants::read(root, &names, self);
        if self.sink.errors() > 0 || tasks.iter().any(Option::is_none) {
            return None;
        }
        // Collected in place: with many tasks this is the largest piece of memory there is.
        let mut tasks: Vec<Task> = tasks.into_iter().map(|task| task.expect("none is missing")).collect();
        for ((task, draft), level) in tasks.iter_mut().zip(&drafts).zip(levels) {
            let edge = |edge: &Edge| Dependency { task: edge.task, strength: edge.strength };
            task.depends_on = draft.dependencies.iter().map(edge).collect();
            task.level = level;
            task.fallback = draft.fallback.map(|(other, _)| other);
        }
        Some(Workflow { invariants, ..assemble(entries, header, tasks, outputs, source_name) })
    }

    fn task_list<'n, 't>(&mut self, root: &'n Node<'t>) -> Option<&'n [Node<'t>]> {
        let Some(node) = root.get("tasks") else {
            self.sink.error("missing-key", Span { end: root.span.start, ..root.span }, "the workflow has no `tasks`");
            return None;
        };
        let tasks = fields::list("tasks", node, &mut self.sink)?;
        if tasks.is_empty() {
            self.sink.error("bad-value", node.span, "the workflow has no tasks").help("`tasks:` needs at least one");
            return None;
        }
        Some(tasks)
    }

    /// The id of each task and where it stands.
    fn ids<'n>(&mut self, nodes: &'n [Node<'_>], marks: &[Option<course::Mark<'_>>]) -> Vec<Option<(&'n str, Span)>> {
        let mut ids = Vec::with_capacity(nodes.len());
        for (node, mark) in nodes.iter().zip(marks) {
            if mark.is_some() {
                ids.push(None);
                continue;
            }
            let Data::Map(_) = &node.data else {
                fields::bad_type("tasks", "a list of mappings", node, &mut self.sink);
                ids.push(None);
                continue;
            };
            let Some(id) = node.get("id") else {
                let start = Span { end: node.span.start, ..node.span };
                self.sink.error("missing-key", start, "the task has no `id`").help("give every task an `id`");
                ids.push(None);
                continue;
            };
            let text = fields::text("id", id, &mut self.sink);
            if let Some(text) = text.filter(|text| !is_id(text)) {
                self.sink
                    .error("bad-id", id.span, format!("{} cannot be an id", quoted(text)))
                    .help("letters, digits, `_`, `.` and `-`, at most 128, not beginning with `.` or `-`")
                    .task(text);
            }
            ids.push(text.map(|text| (text, id.span)));
        }
        ids
    }

    /// The task of that name, or a diagnostic for `dependent`.
    fn task_named(&mut self, name: &str, dependent: &str, span: Span, names: &Names<'_>) -> Option<TaskIndex> {
        let found = names.tasks.get(name).copied();
        if found.is_none() {
            let message = format!("unknown dependency {} of {}", quoted(name), quoted(dependent));
            let near = self.sink.nearest(name, names.tasks.keys().copied());
            let note = self.sink.error("unknown-dependency", span, message);
            match near {
                Some(near) => note.help(format!("did you mean {}?", quoted(near))),
                None => note.help("there is no task of that id"),
            };
        }
        found
    }

    /// Adds the edges of `edges:` to the dependencies of their tasks.
    fn edges(&mut self, root: &Node<'_>, names: &Names<'_>, drafts: &mut [Draft<'_>]) {
        let Some(node) = root.get("edges") else { return };
        for item in fields::list("edges", node, &mut self.sink).unwrap_or_default() {
            let Some(entries) = fields::map("edges", item, &mut self.sink) else { continue };
            let (mut ends, mut strength) = ([None, None], Some(Strength::Hard));
            for entry in entries {
                match &*entry.key {
                    "from" => ends[0] = Some(&entry.value),
                    "to" => ends[1] = Some(&entry.value),
                    "type" => strength = edges::strength(&entry.value, self),
                    _ => keys::unknown(entry, "an edge", &[keys::EDGE], &mut self.sink),
                }
            }
            let [Some(from), Some(to)] = ends else {
                self.sink.error("missing-key", item.span, "an edge needs `from` and `to`");
                continue;
            };
            let from_name = fields::text("from", from, &mut self.sink);
            let to_name = fields::text("to", to, &mut self.sink);
            let (Some(from_name), Some(to_name)) = (from_name, to_name) else { continue };
            if from_name == to_name {
                self.sink.task = Some(to_name.to_owned());
                edges::self_dependency(to_name, item.span, self);
                self.sink.task = None;
                continue;
            }
            let to_index = names.tasks.get(to_name).copied();
            if to_index.is_none() {
                let message = format!("the edge leads to {}, which is no task", quoted(to_name));
                self.sink.error("unknown-dependency", to.span, message);
            }
            self.sink.task = to_index.map(|_| to_name.to_owned());
            let from_index = self.task_named(from_name, to_name, from.span, names);
            self.sink.task = None;
            let (Some(from_index), Some(to_index)) = (from_index, to_index) else { continue };
            drafts[from_index as usize].is_connected = true;
            drafts[to_index as usize].is_connected = true;
            if let Some(strength) = strength {
                drafts[to_index as usize].dependencies.push(Edge { task: from_index, strength, span: item.span });
            }
        }
    }

    /// Judges edges, cycles, orphans and references; the levels.
    fn graph(&mut self, drafts: &mut [Draft<'_>]) -> Vec<u32> {
        for draft in drafts.iter_mut() {
            draft.dependencies.sort_by_key(|edge| edge.task);
            let conflict =
                draft.dependencies.windows(2).find(|w| w[0].task == w[1].task && w[0].strength != w[1].strength);
            if let Some([_, edge]) = conflict {
                self.sink
                    .error("conflicting-edge", edge.span, "the same dependency is declared hard and soft")
                    .help("keep one of them")
                    .task(draft.id);
            }
            draft.dependencies.dedup_by_key(|edge| edge.task);
        }
        let dependencies = Neighbours::new(drafts.iter().map(|draft| draft.dependencies.iter().map(|edge| edge.task)));
        let dependents = dependencies.reversed();
        let order = graph::order(&dependencies, &dependents);
        if order.tasks.len() < drafts.len() {
            self.cycles(drafts, &dependents, &order);
        }
        self.orphans(drafts, &dependents);
        let uses: Vec<(TaskIndex, Use)> =
            drafts.iter().enumerate().flat_map(|(n, d)| d.uses.iter().map(move |u| (n as TaskIndex, *u))).collect();
        if !uses.is_empty() {
            let questions: Vec<_> = uses.iter().map(|(task, one)| (*task, one.target)).collect();
            for n in graph::non_ancestors(&questions, &dependencies, &order) {
                let (task, one) = uses[n];
                self.not_an_ancestor(drafts[task as usize].id, drafts[one.target as usize].id, one.span);
            }
        }
        order.levels
    }

    fn not_an_ancestor(&mut self, task: &str, target: &str, span: Span) {
        let message = match task == target {
            true => format!("{} refers to its own output", quoted(task)),
            false => format!("{} refers to {}, which does not come before it", quoted(task), quoted(target)),
        };
        let note = self.sink.error("bad-reference", span, message).task(task);
        if task != target {
            note.help(format!("add {} to its `depends_on`", quoted(target)));
        }
    }

    fn cycles(&mut self, drafts: &[Draft<'_>], dependents: &Neighbours, order: &graph::Order) {
        for cycle in graph::cycles(dependents, order) {
            const SHOWN: usize = 30;
            let ids = cycle.iter().map(|task| drafts[*task as usize].id);
            let mut path: Vec<_> = ids.take(SHOWN).collect();
            if cycle.len() > SHOWN {
                path.push("…");
            }
            let first = &drafts[cycle[0] as usize];
            path.push(first.id);
            // The members and nothing else; ids that are none were told and are made harmless.
            let safe = |id: &&str| if is_id(id) || *id == "…" { (*id).to_owned() } else { quoted(id) };
            let shown: Vec<_> = path.iter().map(safe).collect();
            self.sink
                .error("cycle", first.span, shown.join(" -> "))
                .help("a cycle cannot be run: remove one of these dependencies")
                .task(first.id);
        }
    }

    fn orphans(&mut self, drafts: &[Draft<'_>], dependents: &Neighbours) {
        // Faults may have cost a task its dependencies: with any, nothing can be said of orphans.
        if drafts.len() < 2 || self.sink.errors() > 0 {
            return;
        }
        for (n, draft) in drafts.iter().enumerate() {
            if !draft.is_connected && dependents.of(n as TaskIndex).is_empty() {
                self.sink
                    .warning(
                        "orphan",
                        draft.span,
                        format!("{} has neither dependencies nor dependents", quoted(draft.id)),
                    )
                    .help("connect it by `depends_on`, or run it as a workflow of its own")
                    .task(draft.id);
            }
        }
    }

    fn outputs(&mut self, root: &Node<'_>, names: &Names<'_>) -> Option<Vec<(String, Template)>> {
        let entries = fields::map("outputs", root.get("outputs")?, &mut self.sink)?;
        // Every task has settled when outputs are made, so any task may be referred to.
        let mut uses = Vec::new();
        let template = |entry: &Entry<'_>| references::template(&entry.value, names, &mut uses, &mut self.sink);
        let values: Vec<_> = entries.iter().map(template).collect();
        Some(entries.iter().map(|entry| entry.key.to_string()).zip(values).collect())
    }

    /// A JSON Schema that was seen to be one. Nothing outside the document is fetched for it.
    fn schema(&mut self, node: &Node<'_>) -> Option<serde_json::Value> {
        let schema = node.to_json();
        let digest = blake3::hash(schema.to_string().as_bytes());
        if self.sound_schemas.contains(&digest) {
            return Some(schema);
        }
        match jsonschema::validator_for(&schema) {
            Ok(_) => {
                self.sound_schemas.insert(digest);
                Some(schema)
            }
            Err(error) => {
                let place = error.instance_path().to_string();
                let place = if place.is_empty() { String::new() } else { format!(" at {}", quoted(&place)) };
                let reason: String = error.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
                self.sink
                    .error("bad-schema", node.span, format!("`output_schema` is no JSON Schema{place}: {reason}"))
                    .help("it is read as JSON Schema 2020-12 unless it says otherwise by `$schema`");
                None
            }
        }
    }
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
fn is_id(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = text.as_bytes();
    bytes.len() <= 128
        && bytes.first().is_some_and(|b| word(*b))
        && bytes.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'))
}

fn assemble(
    entries: &[Entry<'_>],
    header: Header,
    tasks: Vec<Task>,
    outputs: Option<Vec<(String, Template)>>,
    source_name: &str,
) -> Workflow {
    let hash = crate::hash::workflow(entries, tasks.iter().map(|task| task.hash.as_str()));
    Workflow {
        name: header.name.unwrap_or_else(|| stem(source_name)),
        description: header.description,
        hash,
        inputs: header.inputs,
        mode: header.mode,
        parallelism: header.parallelism,
        optimization: header.optimization,
        max_parallelism: header.max_parallelism,
        budget: header.budget,
        mcp_servers: header.servers,
        permissions: header.permissions,
        tasks,
        outputs,
        invariants: Vec::new(),
        on_failure: header.on_failure,
    }
}

/// `wf` of `dir/wf.yaml`; `workflow` for what is no file.
fn stem(source_name: &str) -> String {
    let file = source_name.rsplit('/').next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    match stem {
        "" | "-" => "workflow".into(),
        stem => stem.to_owned(),
    }
}

#[cfg(test)]
mod tests;
