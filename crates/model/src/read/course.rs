//! What a run may make of its tasks, as keys of the file (`when`, `foreach`, `on_exhausted`) and as marks in definitions
//! that a run has changed: places of tasks that were taken out, items of a list, tasks in the place of others. It does
//! not know who changes a definition; [`crate::patch`] does.

use std::collections::HashMap;

use super::Reading;
use super::edges::Edge;
use super::fields;
use super::header::Header;
use super::task::{self, Draft};
use crate::condition;
use crate::course::{Course, Foreach, Item, item_id};
use crate::diagnostic::quoted;
use crate::references::{self, Names, Use};
use crate::syntax::{Data, Entry, Node, Span};
use crate::workflow::{Strength, Task, TaskIndex, TaskKind};

/// Something in the list of tasks that is none as people write them.
pub(super) enum Mark<'n> {
    /// `{removed: id, saga: name}`: its place and the number of its saga stay.
    Removed { id: &'n str, saga: Option<&'n str> },
    /// `{item: number, of: id}`
    Item { of: &'n str, number: u32 },
}

impl<'n> Mark<'n> {
    /// Keeps the place in the list.
    pub(super) fn draft(&self, span: Span) -> Draft<'n> {
        let (Mark::Removed { id, .. } | Mark::Item { of: id, .. }) = *self;
        Draft { id, span, dependencies: Vec::new(), is_connected: true, uses: Vec::new(), fallback: None }
    }

    pub(super) fn tombstone(&self) -> Option<Task> {
        match self {
            Mark::Removed { id, saga } => Some(Task::tombstone(id, *saga)),
            Mark::Item { .. } => None,
        }
    }
}

/// One task in the place of another.
pub(super) struct Succession {
    task: TaskIndex,
    id: String,
    by: TaskIndex,
}

impl Succession {
    pub(super) fn note(&self, tasks: &mut [Option<Task>]) {
        if let Some(task) = &mut tasks[self.task as usize] {
            task.course.superseded_by = Some(self.by);
        }
        if let Some(task) = &mut tasks[self.by as usize] {
            task.course.stands_for = Some(self.id.clone());
        }
    }
}

impl Reading<'_, '_> {
    /// What of the list is a mark; nothing in what people write.
    pub(super) fn marks<'n>(&self, nodes: &'n [Node<'_>]) -> Vec<Option<Mark<'n>>> {
        let mark = |node: &'n Node<'_>| {
            if let Some(id) = node.get("removed") {
                let saga = node.get("saga").and_then(Node::text);
                return Some(Mark::Removed { id: id.text()?, saga });
            }
            let number = match &node.get("item")?.data {
                Data::Number(number) => u32::try_from(number.as_u64()?).ok()?,
                _ => return None,
            };
            Some(Mark::Item { of: node.get("of")?.text()?, number })
        };
        nodes.iter().map(|node| if self.changed { mark(node) } else { None }).collect()
    }

    /// Ids that items have or may get are nobody else's.
    pub(super) fn item_names(&mut self, nodes: &[Node<'_>], ids: &[Option<(&str, Span)>], marks: &[Option<Mark<'_>>]) {
        let lists = nodes
            .iter()
            .zip(ids)
            .zip(marks)
            .filter(|((node, _), mark)| mark.is_none() && node.get("foreach").is_some());
        let lists: std::collections::HashSet<&str> = lists.filter_map(|((_, id), _)| id.map(|(id, _)| id)).collect();
        if lists.is_empty() {
            return;
        }
        for (id, span) in ids.iter().flatten() {
            let Some((of, number)) = id.rsplit_once('.') else { continue };
            if lists.contains(of) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
                self.sink
                    .error("duplicate-id", *span, format!("the id {} is that of an item of {}", quoted(id), quoted(of)))
                    .help("items of a `foreach` are tasks with the ids ID.0, ID.1 …; choose another id")
                    .task(id);
            }
        }
    }

    /// Tasks in whose place others are: their names mean those from now on.
    pub(super) fn successions(&mut self, nodes: &[Node<'_>], index: &mut HashMap<&str, TaskIndex>) -> Vec<Succession> {
        let mut found = Vec::new();
        for node in nodes.iter().filter(|_| self.changed) {
            let (Some(id), Some(by)) = (node.get("id").and_then(Node::text), node.get("superseded_by")) else {
                continue;
            };
            let by = by.text().and_then(|by| index.get(by)).copied();
            if let (Some(&task), Some(by)) = (index.get(id), by) {
                found.push(Succession { task, id: id.to_owned(), by });
            }
        }
        for succession in &found {
            if let Some(place) = index.get_mut(succession.id.as_str()) {
                *place = succession.by;
            }
        }
        found
    }

    /// Makes tasks of items: each is its list's task without the list, and the list's task waits for all of them.
    pub(super) fn items(
        &mut self,
        marks: &[Option<Mark<'_>>],
        names: &Names<'_>,
        drafts: &mut [Draft<'_>],
        tasks: &mut [Option<Task>],
    ) {
        let mut edges = Vec::new();
        for (n, mark) in marks.iter().enumerate() {
            let Some(Mark::Item { of, number }) = mark else { continue };
            let Some(of) = names.tasks.get(of).copied() else { continue };
            let (dependencies, uses, span) = {
                let list = &drafts[of as usize];
                (list.dependencies.clone(), list.uses.clone(), list.span)
            };
            (drafts[n].dependencies, drafts[n].uses) = (dependencies, uses);
            let Some(mut task) = tasks[of as usize].clone() else { continue };
            task.id = item_id(&task.id, *number);
            task.fallback = None;
            task.hash = format!("{}.{number}", task.hash);
            task.course = Course { item: Some(Item { of, number: *number }), ..Course::default() };
            tasks[n] = Some(task);
            edges.push((of, Edge { task: n as TaskIndex, strength: Strength::Soft, span }));
        }
        for (of, edge) in edges {
            drafts[of as usize].dependencies.push(edge);
            if let Some(foreach) = tasks[of as usize].as_mut().and_then(|task| task.course.foreach.as_mut()) {
                foreach.items.push(edge.task);
            }
        }
    }

    /// The body of `on_exhausted: {replace: …}`, judged where it would stand.
    pub(super) fn replacement<'n>(
        &mut self,
        entries: &'n [Entry<'_>],
        draft: &Draft<'n>,
        header: &Header,
        names: &Names<'_>,
    ) -> Option<Draft<'n>> {
        let node = replacement_node(entries)?;
        let body = fields::map("replace", node, &mut self.sink)?;
        for (key, why) in [
            ("on_exhausted", "a replacement that fails fails"),
            ("foreach", "a replacement does one piece of work"),
            ("when", "a replacement is needed when it is asked for"),
        ] {
            if let Some(entry) = body.iter().find(|entry| entry.key == key) {
                self.sink
                    .error("bad-value", entry.key_span, format!("`{key}` has no place in a replacement"))
                    .help(why);
            }
        }
        let (mut stand_in, _) = task::read(body, draft.id, node.span, header, names, self);
        stand_in.is_connected = true;
        if node.get("depends_on").is_none() && node.get("dependencies").is_none() {
            stand_in.dependencies = draft.dependencies.clone();
        }
        Some(stand_in)
    }
}

fn replacement_node<'a, 't>(entries: &'a [Entry<'t>]) -> Option<&'a Node<'t>> {
    entries.iter().find(|entry| entry.key == "on_exhausted")?.value.get("replace")
}

/// The keys of a task that say what may become of it. `names` knows `$ITEM` exactly when there is a list.
pub(super) fn read(
    entries: &[Entry<'_>],
    kind: Option<&TaskKind>,
    span: Span,
    names: &Names<'_>,
    uses: &mut Vec<Use>,
    cx: &mut Reading<'_, '_>,
) -> Course {
    let mut course = Course::default();
    let get = |key: &str| entries.iter().find(|entry| entry.key == key);
    let plain = Names { tasks: names.tasks, inputs: names.inputs, has_item: false };
    if let Some(entry) = get("when")
        && let Some(text) = fields::scalar_text("when", &entry.value, &mut cx.sink)
    {
        course.when = condition::read(&text, entry.value.span, &plain, uses, &mut cx.sink).map(Box::new);
    }
    let max_parallel = get("max_parallel").and_then(|entry| {
        fields::integer("max_parallel", &entry.value, (1, i64::from(u32::MAX)), &mut cx.sink).map(|n| n as u32)
    });
    course.is_replaceable = replacement_node(entries).is_some();
    if let Some(entry) = get("fallback").filter(|_| course.is_replaceable) {
        cx.sink
            .error("bad-value", entry.key_span, "`fallback` and `on_exhausted: {replace: …}` cannot stand together")
            .help("both say what stands in for the task; keep one");
    }
    if let Some(entry) = get("saga").or(get("compensate")).filter(|_| course.is_replaceable) {
        cx.sink
            .error("bad-value", entry.key_span, "a member of a saga is undone when it fails, not replaced")
            .help("take `on_exhausted` or the saga away");
    }
    match get("foreach") {
        Some(entry) => {
            if !matches!(entry.value.data, Data::List(_) | Data::Text(_)) {
                fields::bad_type("foreach", "a reference to a list, or a list", &entry.value, &mut cx.sink);
            }
            let list = references::template(&entry.value, &plain, uses, &mut cx.sink);
            course.foreach = Some(Box::new(Foreach { list, max_parallel, items: Vec::new() }));
            if course.is_replaceable {
                cx.sink
                    .error(
                        "bad-value",
                        entry.key_span,
                        "`foreach` and `on_exhausted: {replace: …}` cannot stand together",
                    )
                    .help("give the items `retry`, or put the replacement behind the list");
            }
            for key in ["compensate", "saga"] {
                if let Some(entry) = get(key) {
                    cx.sink
                        .error("bad-value", entry.key_span, format!("`foreach` and `{key}` cannot stand together"))
                        .help("items are undone by nobody; let a task behind the list be the member of the saga");
                }
            }
            if let Some(TaskKind::Agent(agent)) = kind
                && agent.context != crate::workflow::AgentContext::Fresh
            {
                cx.sink
                    .error("bad-context", span, "the items of a `foreach` cannot continue one conversation")
                    .help("leave `context` out: items run at the same time");
            }
        }
        None if max_parallel.is_some() => {
            cx.sink
                .error("bad-value", span, "`max_parallel` belongs to a `foreach`")
                .help("`limits.max_parallelism` bounds a whole workflow");
        }
        None => {}
    }
    course
}
