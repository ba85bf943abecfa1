//! What a task may use and what it may hand on: grants, their order, and how a child's grant follows from its parent's.
//! It does not know files, processes, nor who enforces a grant.
//!
//! A grant can only become narrower on the way from workflow to task to whatever the task starts. What is not said is
//! inherited, an empty list is nothing, denies are united, budgets are the smaller one. What may be *used* and what
//! may be *delegated* are two grants; a child is measured by what its parent may delegate.

mod answer;
mod command;
mod path;
mod preset;
mod scope;
mod tool;

pub use answer::{Access, Answer};
pub use path::{Location, PathPattern};
pub use preset::Preset;
pub use scope::{Rule, Scope};
pub use tool::{TOOLS, ToolError, ToolRule};

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use crate::catalog::is_word_part;

/// What may be used.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grant {
    /// Tools of agents and of MCP servers; `Bash` is also what a shell task uses.
    pub tools: Scope<ToolRule>,
    /// Files that may be read.
    pub read: Scope<PathPattern>,
    /// Files that may be written.
    pub write: Scope<PathPattern>,
    /// Files that may be neither read nor written, whatever else is said.
    pub deny: Vec<PathPattern>,
    /// Access to the network.
    pub network: NetworkAccess,
    /// Models by name or family.
    pub models: Scope<ModelRule>,
    /// US dollars that one task may cost; `None` is no limit of its own.
    pub cost_budget: Option<f64>,
}

/// Access to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum NetworkAccess {
    #[default]
    Full,
    None,
}

impl NetworkAccess {
    /// The words of `network:`.
    pub const WORDS: &'static [(&'static str, NetworkAccess)] =
        &[("none", NetworkAccess::None), ("full", NetworkAccess::Full)];

    /// The word of `network:`.
    pub fn name(self) -> &'static str {
        match self {
            NetworkAccess::Full => "full",
            NetworkAccess::None => "none",
        }
    }
}

/// A model's name, or a family that is a part of its members' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRule {
    written: String,
    /// Names are compared without regard to case.
    folded: String,
}

impl ModelRule {
    /// The rule of that name.
    pub fn new(name: &str) -> ModelRule {
        ModelRule { written: name.to_owned(), folded: name.to_lowercase() }
    }
}

impl Rule for ModelRule {
    fn contains(&self, other: &Self) -> bool {
        self.folded == other.folded || is_word_part(&self.folded, &other.folded)
    }
}

impl fmt::Display for ModelRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// What a `permissions:` asks for; `None` is inherited.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the keys of `permissions:`, see `Grant`")]
pub struct Request {
    pub tools: Option<Scope<ToolRule>>,
    pub read: Option<Scope<PathPattern>>,
    pub write: Option<Scope<PathPattern>>,
    pub deny: Vec<PathPattern>,
    pub network: Option<NetworkAccess>,
    pub models: Option<Scope<ModelRule>>,
    pub cost_budget: Option<f64>,
    /// What may be handed on; without it, what may be used.
    pub delegate: Option<Box<Request>>,
}

impl Request {
    /// What it says over what the other says.
    pub fn or(self, other: Request) -> Request {
        Request {
            tools: self.tools.or(other.tools),
            read: self.read.or(other.read),
            write: self.write.or(other.write),
            deny: united([&self.deny, &other.deny]),
            network: self.network.or(other.network),
            models: self.models.or(other.models),
            cost_budget: self.cost_budget.or(other.cost_budget),
            delegate: self.delegate.or(other.delegate),
        }
    }
}

/// Something that was asked for and is not there to be given.
#[derive(Debug, Clone, PartialEq)]
pub struct Excess {
    /// Whether it was asked for under `delegate:`.
    pub in_delegate: bool,
    /// The key, as in `paths.read`.
    pub field: &'static str,
    /// Which entry of the list; `None` for the field as a whole.
    pub item: Option<usize>,
    /// What was asked for.
    pub value: String,
}

/// The two grants of a task or workflow.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Permissions {
    usable: Grant,
    delegable: Grant,
}

impl Permissions {
    /// Everything that the user may: where nothing is said anywhere.
    pub fn everything() -> Permissions {
        Permissions::default()
    }

    /// What may be used.
    pub fn usable(&self) -> &Grant {
        &self.usable
    }

    /// What may be handed on.
    pub fn delegable(&self) -> &Grant {
        &self.delegable
    }

    /// The same with no more than these tools to use.
    pub fn using(&self, tools: Scope<ToolRule>) -> Permissions {
        let usable = Grant { tools: tools.meet(&self.usable.tools), ..self.usable.clone() };
        Permissions { usable, delegable: self.delegable.clone() }
    }

    /// What a child gets that asks for this, and what it asked for in vain. A file that asks for more than there is is
    /// refused; at run time the child gets the rest, and the excess is told.
    pub fn child(&self, request: &Request) -> (Permissions, Vec<Excess>) {
        let mut excess = Vec::new();
        // Who says nothing gets what the parent uses, as far as the parent may hand it on.
        let usable = granted(&self.usable.meet(&self.delegable), &self.delegable, request, false, &mut excess);
        let delegable = match &request.delegate {
            None => usable.clone(),
            Some(delegate) => granted(&usable, &self.delegable, delegate, true, &mut excess),
        };
        (Permissions { usable, delegable }, excess)
    }
}

impl Scope<ToolRule> {
    /// Without the tools by which others fetch from the network, where there is to be none.
    pub fn within(self, network: NetworkAccess) -> Scope<ToolRule> {
        let fetches = |rule: &ToolRule| matches!(rule.name(), Some("WebFetch" | "WebSearch"));
        match (self, network) {
            (Scope::Only(rules), NetworkAccess::None) => {
                Scope::Only(rules.into_iter().filter(|rule| !fetches(rule)).collect())
            }
            (scope, _) => scope,
        }
    }
}

/// What is asked for where something is asked, else what is inherited; never more than the ceiling.
fn granted(inherited: &Grant, ceiling: &Grant, asked: &Request, in_delegate: bool, excess: &mut Vec<Excess>) -> Grant {
    let mut beyond = |field, item, value| excess.push(Excess { in_delegate, field, item, value });
    let tools = one("tools", &asked.tools, &inherited.tools, &ceiling.tools, &mut beyond);
    let read = one("paths.read", &asked.read, &inherited.read, &ceiling.read, &mut beyond);
    let write = one("paths.write", &asked.write, &inherited.write, &ceiling.write, &mut beyond);
    let models = one("models", &asked.models, &inherited.models, &ceiling.models, &mut beyond);
    if let (Some(NetworkAccess::Full), NetworkAccess::None) = (asked.network, ceiling.network) {
        beyond("network", None, "full".to_owned());
    }
    if let (Some(wanted), Some(most)) = (asked.cost_budget, ceiling.cost_budget)
        && wanted > most
    {
        beyond("cost_budget", None, wanted.to_string());
    }
    Grant {
        tools,
        read,
        write,
        deny: united([&inherited.deny, &ceiling.deny, &asked.deny]),
        network: asked.network.unwrap_or(inherited.network).meet(ceiling.network),
        models,
        cost_budget: least(asked.cost_budget.or(inherited.cost_budget), ceiling.cost_budget),
    }
}

fn one<T: Rule + ToString>(
    field: &'static str,
    asked: &Option<Scope<T>>,
    inherited: &Scope<T>,
    ceiling: &Scope<T>,
    beyond: &mut impl FnMut(&'static str, Option<usize>, String),
) -> Scope<T> {
    let Some(asked) = asked else { return inherited.meet(ceiling) };
    match (asked, ceiling) {
        (Scope::All, Scope::Only(_)) => beyond(field, None, "everything".to_owned()),
        (Scope::Only(rules), _) => {
            let wide = rules.iter().enumerate().filter(|(_, rule)| !ceiling.admits(rule));
            wide.for_each(|(n, rule)| beyond(field, Some(n), rule.to_string()));
        }
        (Scope::All, Scope::All) => {}
    }
    asked.meet(ceiling)
}

/// As documents show it; everything is `null`.
impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn texts<T: Rule + ToString>(scope: &Scope<T>) -> Option<Vec<String>> {
            scope.rules().map(|rules| rules.iter().map(T::to_string).collect())
        }
        let mut paths = BTreeMap::new();
        paths.insert("read", texts(&self.read));
        paths.insert("write", texts(&self.write));
        let mut grant = serializer.serialize_struct("Grant", 6)?;
        grant.serialize_field("tools", &texts(&self.tools))?;
        grant.serialize_field("paths", &paths)?;
        grant.serialize_field("deny", &self.deny.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        grant.serialize_field("network", self.network.name())?;
        grant.serialize_field("models", &texts(&self.models))?;
        grant.serialize_field("cost_budget", &self.cost_budget)?;
        grant.end()
    }
}

impl NetworkAccess {
    fn meet(self, other: NetworkAccess) -> NetworkAccess {
        match (self, other) {
            (NetworkAccess::Full, NetworkAccess::Full) => NetworkAccess::Full,
            _ => NetworkAccess::None,
        }
    }
}

impl Grant {
    /// What both allow; never wider than either.
    pub fn meet(&self, other: &Grant) -> Grant {
        Grant {
            tools: self.tools.meet(&other.tools),
            read: self.read.meet(&other.read),
            write: self.write.meet(&other.write),
            deny: united([&self.deny, &other.deny]),
            network: self.network.meet(other.network),
            models: self.models.meet(&other.models),
            cost_budget: least(self.cost_budget, other.cost_budget),
        }
    }

    /// Whether the other is not wider in anything.
    pub fn contains(&self, other: &Grant) -> bool {
        self.tools.contains(&other.tools)
            && self.read.contains(&other.read)
            && self.write.contains(&other.write)
            && self.deny.iter().all(|own| other.deny.iter().any(|deny| deny.contains(own)))
            && (self.network == NetworkAccess::Full || other.network == NetworkAccess::None)
            && self.models.contains(&other.models)
            && self.cost_budget.is_none_or(|most| other.cost_budget.is_some_and(|budget| budget <= most))
    }

    /// The same with all paths from the root of the file system, given the folder that tasks start in.
    pub fn from(&self, base: &Location) -> Grant {
        let scope = |scope: &Scope<PathPattern>| match scope {
            Scope::All => Scope::All,
            Scope::Only(patterns) => Scope::Only(patterns.iter().map(|p| p.from(base)).collect()),
        };
        let deny = self.deny.iter().map(|p| p.from(base)).collect();
        Grant { read: scope(&self.read), write: scope(&self.write), deny, ..self.clone() }
    }

    /// Whether files are limited.
    pub fn limits_files(&self) -> bool {
        self.read != Scope::All || self.write != Scope::All || !self.deny.is_empty()
    }
}

fn least(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

fn united<'a>(lists: impl IntoIterator<Item = &'a Vec<PathPattern>>) -> Vec<PathPattern> {
    let mut all: Vec<PathPattern> = Vec::new();
    for pattern in lists.into_iter().flatten() {
        if !all.iter().any(|known| known.contains(pattern)) {
            all.push(pattern.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests;
