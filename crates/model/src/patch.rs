//! Changes of a definition whose run goes on: what a person writes in a patch file, what a run does to itself (items of
//! a list, a task in the place of another), and the document that comes of it. It does not judge the new definition:
//! the reader does, as a whole. One decision: a place in `tasks:` is never given up, since a run knows its tasks by it.

mod reading;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::course::item_id;
use crate::diagnostic::quoted;

pub use reading::read;

/// A patch as data. [`apply`] takes its parts in the order: split, cut edges, remove, replace, update, add, new edges.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// Why, in the words of who wants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// New tasks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Value>,
    /// Ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Tasks that take the place of those with the same id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replace: Vec<Value>,
    /// Tasks with some keys only; `null` takes a key away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub update: Vec<Value>,
    /// New edges.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<Value>,
    /// Edges to take away, wherever they are written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<Ends>,
    /// Tasks to be done as several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<Split>,
    /// The run's own: a list's task gets so many items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expand: Option<Expansion>,
    /// The run's own: the task's replacement takes its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersede: Option<String>,
}

/// An edge without its strength.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the file's own words")]
pub struct Ends {
    pub from: String,
    pub to: String,
}

/// One task that becomes several: those of `into` that wait for none of the others wait for what it waited for, and
/// what waited for it waits for those that nothing of `into` waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the file's own words")]
pub struct Split {
    pub task: String,
    pub into: Vec<Value>,
}

/// A list's task and how long its list is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "see the sentence above")]
pub struct Expansion {
    pub task: String,
    pub items: u32,
}

/// Why a change cannot be applied to a document; the reader has more to say of what it can be applied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The task that it is about.
    pub task: Option<String>,
    /// A sentence without a full stop.
    pub message: String,
}

impl Change {
    /// Whether the run does this to itself; nobody else may ask for it.
    pub fn is_the_runs_own(&self) -> bool {
        self.expand.is_some() || self.supersede.is_some()
    }

    /// Nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Change { reason: self.reason.clone(), ..Change::default() }
    }

    /// In a few words, for lists: `adds a, b; removes c`.
    pub fn summary(&self) -> String {
        let id = |node: &Value| node.get("id").and_then(Value::as_str).unwrap_or("?").to_owned();
        let ids = |nodes: &[Value]| nodes.iter().map(id).collect::<Vec<_>>();
        let ends = |from: &str, to: &str| format!("{from} -> {to}");
        let connected = self.connect.iter().map(|edge| {
            let end = |key: &str| edge.get(key).and_then(Value::as_str).unwrap_or("?");
            ends(end("from"), end("to"))
        });
        let parts = [
            ("splits", self.split.iter().map(|s| format!("{} into {}", s.task, ids(&s.into).join(", "))).collect()),
            ("adds", ids(&self.add)),
            ("removes", self.remove.clone()),
            ("replaces", ids(&self.replace)),
            ("changes", ids(&self.update)),
            ("connects", connected.collect()),
            ("disconnects", self.cut.iter().map(|e| ends(&e.from, &e.to)).collect()),
            ("expands", self.expand.iter().map(|e| format!("{} to {} items", e.task, e.items)).collect()),
            ("puts a replacement in the place of", self.supersede.iter().cloned().collect()),
        ];
        let told = parts.into_iter().filter(|(_, what)| !what.is_empty());
        told.map(|(verb, what)| format!("{verb} {}", what.join(", "))).collect::<Vec<_>>().join("; ")
    }
}

/// The document after the change, or everything that keeps the change from being applied.
pub fn apply(document: &Value, change: &Change) -> Result<Value, Vec<Fault>> {
    let mut work = Work { document: document.clone(), faults: Vec::new() };
    for split in &change.split {
        work.split(split);
    }
    change.cut.iter().for_each(|ends| work.cut(ends));
    change.remove.iter().for_each(|id| work.remove(id));
    change.replace.iter().for_each(|task| work.replace(task));
    change.update.iter().for_each(|keys| work.update(keys));
    work.tasks().extend(change.add.iter().cloned());
    work.edges().extend(change.connect.iter().cloned());
    if let Some(expansion) = &change.expand {
        work.expand(expansion);
    }
    if let Some(task) = &change.supersede {
        work.supersede(task);
    }
    if let Some(map) = work.document.as_object_mut()
        && map.get("edges").and_then(Value::as_array).is_some_and(Vec::is_empty)
    {
        map.remove("edges");
    }
    if work.faults.is_empty() { Ok(work.document) } else { Err(work.faults) }
}

/// What leads from `after` back to `before`, as far as tasks and edges go.
pub fn inverse(before: &Value, after: &Value) -> Change {
    let (old, new) = (ids_of(before), ids_of(after));
    let gone = |from: &[(String, Value)], to: &[(String, Value)]| {
        from.iter().filter(|(id, _)| !to.iter().any(|(other, _)| other == id)).cloned().collect::<Vec<_>>()
    };
    let edges = |of: &Value| of.get("edges").and_then(Value::as_array).cloned().unwrap_or_default();
    let (edges_before, edges_after) = (edges(before), edges(after));
    let end = |edge: &Value, key: &str| edge.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let cut = edges_after.iter().filter(|edge| !edges_before.contains(edge));
    let cut: Vec<Ends> = cut.map(|edge| Ends { from: end(edge, "from"), to: end(edge, "to") }).collect();
    // Cutting takes an edge away wherever it is written, also where it was written before: that is put back.
    let is_cut = |from: &str, to: &str| cut.iter().any(|ends| ends.from == from && ends.to == to);
    let loses = |id: &str, node: &Value| {
        let lists = ["depends_on", "dependencies"].iter().filter_map(|key| node.get(*key)?.as_array());
        lists.flatten().filter_map(named).any(|from| is_cut(from, id))
    };
    let changed =
        |(id, node): &&(String, Value)| new.iter().any(|(other, now)| other == id && (now != node || loses(id, node)));
    let missing = |edge: &&Value| !edges_after.contains(edge) || is_cut(&end(edge, "from"), &end(edge, "to"));
    Change {
        add: gone(&old, &new).into_iter().map(|(_, node)| node).collect(),
        remove: gone(&new, &old).into_iter().map(|(id, _)| id).collect(),
        replace: old.iter().filter(changed).map(|(_, node)| node.clone()).collect(),
        connect: edges_before.iter().filter(missing).cloned().collect(),
        cut,
        ..Change::default()
    }
}

fn ids_of(document: &Value) -> Vec<(String, Value)> {
    let tasks = document.get("tasks").and_then(Value::as_array);
    let id = |node: &Value| Some((node.get("id")?.as_str()?.to_owned(), node.clone()));
    tasks.into_iter().flatten().filter_map(id).collect()
}

/// The id of the task that stands in the place of another; a replacement may bring its own.
pub fn replacement_id(task: &str, body: &Map<String, Value>) -> String {
    let own = body.get("id").and_then(Value::as_str);
    own.map_or_else(|| format!("{task}.replacement"), str::to_owned)
}

struct Work {
    document: Value,
    faults: Vec<Fault>,
}

impl Work {
    fn fault(&mut self, task: &str, message: impl Into<String>) {
        self.faults.push(Fault { task: Some(task.to_owned()), message: message.into() });
    }

    fn list(&mut self, key: &str) -> &mut Vec<Value> {
        if !self.document.get(key).is_some_and(Value::is_array) {
            self.document[key] = json!([]);
        }
        self.document[key].as_array_mut().expect("it was just made one")
    }

    fn tasks(&mut self) -> &mut Vec<Value> {
        self.list("tasks")
    }

    fn edges(&mut self) -> &mut Vec<Value> {
        self.list("edges")
    }

    /// The task's node; a fault when there is none.
    fn task(&mut self, id: &str) -> Option<&mut Map<String, Value>> {
        let found = self.tasks().iter().position(|node| node.get("id").and_then(Value::as_str) == Some(id));
        let Some(at) = found else {
            let lists = self.tasks().iter().filter_map(|node| {
                Some(item_id(node.get("of")?.as_str()?, u32::try_from(node.get("item")?.as_u64()?).ok()?))
            });
            let is_item = lists.into_iter().any(|item| item == id);
            self.fault(
                id,
                match is_item {
                    true => format!("{} is an item of a `foreach`: change the task of the list", quoted(id)),
                    false => format!("the run has no task {}", quoted(id)),
                },
            );
            return None;
        };
        self.tasks()[at].as_object_mut()
    }

    fn remove(&mut self, id: &str) {
        let Some(node) = self.task(id) else { return };
        let saga = node.remove("saga").map(|saga| ("saga".to_owned(), saga));
        *node = [("removed".to_owned(), id.into())].into_iter().chain(saga).collect();
        let touches =
            |edge: &Value| ["from", "to"].iter().any(|end| edge.get(*end).and_then(Value::as_str) == Some(id));
        self.edges().retain(|edge| !touches(edge));
    }

    fn replace(&mut self, task: &Value) {
        let Some(id) = task.get("id").and_then(Value::as_str) else { return };
        if let Some(node) = self.task(id) {
            *node = task.as_object().cloned().unwrap_or_default();
        }
    }

    fn update(&mut self, keys: &Value) {
        let Some(id) = keys.get("id").and_then(Value::as_str) else { return };
        let Some(node) = self.task(id) else { return };
        for (key, value) in keys.as_object().into_iter().flatten() {
            match value {
                Value::Null => node.remove(key),
                value => node.insert(key.clone(), value.clone()),
            };
        }
    }

    fn cut(&mut self, Ends { from, to }: &Ends) {
        let is = |edge: &Value, key: &str, id: &str| edge.get(key).and_then(Value::as_str) == Some(id);
        let before = self.edges().len();
        self.edges().retain(|edge| !(is(edge, "from", from) && is(edge, "to", to)));
        let mut found = self.edges().len() < before;
        let Some(node) = self.task(to) else { return };
        for key in ["depends_on", "dependencies"] {
            if let Some(Value::Array(list)) = node.get_mut(key) {
                let before = list.len();
                list.retain(|entry| named(entry) != Some(from));
                found |= list.len() < before;
            }
        }
        if !found {
            self.fault(to, format!("{} does not depend on {}", quoted(to), quoted(from)));
        }
    }

    fn split(&mut self, split: &Split) {
        let Split { task: id, into } = split;
        let Some(node) = self.task(id) else { return };
        let inherited = ["depends_on", "dependencies"].iter().find_map(|key| node.get(*key).cloned());
        let (mut first, mut last) = (into.clone(), Vec::new());
        let names: Vec<&str> = into.iter().filter_map(|part| part.get("id")?.as_str()).collect();
        let waits = |part: &Value| -> Vec<String> {
            let lists = ["depends_on", "dependencies"].iter().filter_map(|key| part.get(*key)?.as_array());
            lists.flatten().filter_map(named).map(str::to_owned).collect()
        };
        let awaited: Vec<String> = into.iter().flat_map(waits).collect();
        for name in &names {
            if !awaited.iter().any(|other| other == name) {
                last.push((*name).to_owned());
            }
        }
        for part in &mut first {
            let alone = waits(part).iter().all(|name| !names.contains(&name.as_str()));
            if let (true, Some(inherited), Some(map)) = (alone, &inherited, part.as_object_mut())
                && !["depends_on", "dependencies"].iter().any(|key| map.contains_key(*key))
            {
                map.insert("depends_on".to_owned(), inherited.clone());
            }
        }
        let edges = std::mem::take(self.edges());
        let first_ids: Vec<String> = first
            .iter()
            .filter(|part| waits(part).iter().all(|name| !names.contains(&name.as_str())))
            .filter_map(|part| Some(part.get("id")?.as_str()?.to_owned()))
            .collect();
        for edge in edges {
            let end = |key: &str| edge.get(key).and_then(Value::as_str);
            let ends: [Vec<String>; 2] = [("from", &last), ("to", &first_ids)].map(|(key, instead)| match end(key) {
                Some(other) if other == id => instead.clone(),
                other => other.map(str::to_owned).into_iter().collect(),
            });
            for (from, to) in ends[0].iter().flat_map(|from| ends[1].iter().map(move |to| (from, to))) {
                let mut edge = edge.clone();
                (edge["from"], edge["to"]) = (from.as_str().into(), to.as_str().into());
                self.edges().push(edge);
            }
        }
        self.rehang(id, &last);
        self.remove(id);
        self.tasks().extend(first);
    }

    /// What waits for `id` waits for `instead`, as strongly.
    fn rehang(&mut self, id: &str, instead: &[String]) {
        for node in self.tasks() {
            for key in ["depends_on", "dependencies"] {
                let Some(Value::Array(list)) = node.get_mut(key) else { continue };
                let old = std::mem::take(list);
                for entry in old {
                    if named(&entry) != Some(id) {
                        list.push(entry);
                        continue;
                    }
                    list.extend(instead.iter().map(|name| match &entry {
                        Value::Object(map) => {
                            let mut map = map.clone();
                            map.insert("task".to_owned(), name.as_str().into());
                            Value::Object(map)
                        }
                        _ => name.as_str().into(),
                    }));
                }
            }
        }
    }

    fn expand(&mut self, Expansion { task, items }: &Expansion) {
        if self.task(task).is_some() {
            self.tasks().extend((0..*items).map(|number| json!({"item": number, "of": task})));
        }
    }

    fn supersede(&mut self, id: &str) {
        // Edges that lead to the task become its own: by its name others will mean the replacement.
        let mut own = Vec::new();
        self.edges().retain(|edge| {
            let leads_here = edge.get("to").and_then(Value::as_str) == Some(id);
            if leads_here {
                own.push(json!({"task": edge["from"], "type": edge.get("type").cloned().unwrap_or("hard".into())}));
            }
            !leads_here
        });
        let Some(node) = self.task(id) else { return };
        let key = if node.contains_key("dependencies") { "dependencies" } else { "depends_on" };
        if !own.is_empty() {
            let list = node.entry(key).or_insert_with(|| json!([]));
            list.as_array_mut().into_iter().for_each(|list| list.append(&mut own));
        }
        let dependencies = node.get(key).cloned();
        let Some(Value::Object(mut body)) = node.get("on_exhausted").and_then(|value| value.get("replace")).cloned()
        else {
            return self.fault(id, format!("{} has no replacement", quoted(id)));
        };
        let by = replacement_id(id, &body);
        node.insert("superseded_by".to_owned(), by.as_str().into());
        body.insert("id".to_owned(), by.into());
        if let (Some(dependencies), false) =
            (dependencies, body.contains_key("depends_on") || body.contains_key("dependencies"))
        {
            body.insert("depends_on".to_owned(), dependencies);
        }
        self.tasks().push(Value::Object(body));
    }
}

/// The task that an entry of `depends_on` names.
fn named(entry: &Value) -> Option<&str> {
    entry.as_str().or_else(|| entry.get("task")?.as_str())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests;
