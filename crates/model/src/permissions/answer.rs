//! Single questions to a grant: may this be read, run, called, asked? Every answer names the rule that decided. It does
//! not know who enforces the answer.

use super::Grant;
use super::command;
use super::path::{Location, PathPattern};
use super::scope::Scope;
use super::tool::{ToolRule, canonical};
use super::{ModelRule, NetworkAccess};

/// Allowed or not, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it may be done.
    pub allowed: bool,
    /// The rule in words.
    pub rule: String,
}

impl Answer {
    fn yes(rule: impl Into<String>) -> Answer {
        Answer { allowed: true, rule: rule.into() }
    }

    fn no(rule: impl Into<String>) -> Answer {
        Answer { allowed: false, rule: rule.into() }
    }

    /// This refusal, or else what comes next.
    pub fn and(self, next: impl FnOnce() -> Answer) -> Answer {
        if self.allowed { next() } else { self }
    }
}

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Access {
    Read,
    Write,
}

impl Access {
    fn key(self) -> &'static str {
        match self {
            Access::Read => "paths.read",
            Access::Write => "paths.write",
        }
    }
}

impl Grant {
    /// A built-in tool, with any arguments that its other limits allow.
    pub fn tool(&self, name: &str) -> Answer {
        let name = canonical(name);
        let Scope::Only(rules) = &self.tools else { return Answer::yes("tools: nothing is said") };
        match rules.iter().find(|rule| rule.name().is_some_and(|n| canonical(n) == name)) {
            Some(rule) => Answer::yes(format!("tools: {rule}")),
            None => Answer::no(format!("tools: {name} is not among {}", listed(rules))),
        }
    }

    /// A tool of an MCP server.
    pub fn server_tool(&self, server: &str, tool: &str) -> Answer {
        let Scope::Only(rules) = &self.tools else { return Answer::yes("tools: nothing is said") };
        match rules.iter().find(|rule| rule.is_of_server(server, tool)) {
            Some(rule) => Answer::yes(format!("tools: {rule}")),
            None => Answer::no(format!("tools: {server}:{tool} is not among {}", listed(rules))),
        }
    }

    /// A command line of a shell.
    pub fn command(&self, line: &str) -> Answer {
        let Scope::Only(rules) = &self.tools else { return Answer::yes("tools: nothing is said") };
        let mut because = None;
        for rule in rules {
            match rule {
                ToolRule::Named(name) if name == "Bash" => return Answer::yes("tools: Bash"),
                ToolRule::Command(pattern) => match pattern.allows(line) {
                    Ok(true) => return Answer::yes(format!("tools: {rule}")),
                    Ok(false) => {}
                    Err(reason) => because = because.or(Some(format!("tools: {rule}: {reason}"))),
                },
                _ => {}
            }
        }
        Answer::no(because.unwrap_or_else(|| format!("tools: no rule of {} allows the command", listed(rules))))
    }

    /// A program with its arguments, without a shell.
    pub fn program<'a>(&self, argv: impl IntoIterator<Item = &'a str>) -> Answer {
        let Scope::Only(rules) = &self.tools else { return Answer::yes("tools: nothing is said") };
        let argv: Vec<&str> = argv.into_iter().collect();
        let allows = |rule: &&ToolRule| match rule {
            ToolRule::Named(name) => name == "Bash",
            ToolRule::Command(pattern) => pattern.allows_program(&argv),
            ToolRule::Server { .. } => false,
        };
        match rules.iter().find(allows) {
            Some(rule) => Answer::yes(format!("tools: {rule}")),
            None => Answer::no(format!("tools: no rule of {} allows {}", listed(rules), shown(&command::line(argv)))),
        }
    }

    /// A file, whichever tool is used on it.
    pub fn path(&self, access: Access, path: &Location) -> Answer {
        if let Some(deny) = self.deny.iter().find(|deny| deny.matches(path)) {
            return Answer::no(format!("deny: {deny}"));
        }
        let scope = match access {
            Access::Read => &self.read,
            Access::Write => &self.write,
        };
        let key = access.key();
        match scope {
            Scope::All => Answer::yes(format!("{key}: nothing is said")),
            Scope::Only(patterns) => match patterns.iter().find(|pattern| pattern.matches(path)) {
                Some(pattern) => Answer::yes(format!("{key}: {pattern}")),
                None => Answer::no(format!("{key}: {path} is not within {}", listed(patterns))),
            },
        }
    }

    /// Everything that a pattern stands for, for reading; no when a part of it is denied.
    pub fn whole(&self, access: Access, pattern: &PathPattern) -> Answer {
        if let Some(deny) = self.deny.iter().find(|deny| deny.may_meet(pattern)) {
            return Answer::no(format!("deny: {deny}"));
        }
        let scope = match access {
            Access::Read => &self.read,
            Access::Write => &self.write,
        };
        match scope.admits(pattern) {
            true => Answer::yes(access.key()),
            false => {
                let rules = scope.rules().unwrap_or_default();
                Answer::no(format!("{}: {pattern} is not within {}", access.key(), listed(rules)))
            }
        }
    }

    /// A model by its name; a family stands for its members.
    pub fn model(&self, name: &str) -> Answer {
        let Scope::Only(rules) = &self.models else { return Answer::yes("models: nothing is said") };
        match self.models.admits(&ModelRule::new(name)) {
            true => Answer::yes("models"),
            false => Answer::no(format!("models: {name} is not among {}", listed(rules))),
        }
    }

    /// Anything on the network.
    pub fn network_use(&self) -> Answer {
        match self.network {
            NetworkAccess::Full => Answer::yes("network: full"),
            NetworkAccess::None => Answer::no("network: none"),
        }
    }
}

/// Bounded, and safe to show.
fn shown(line: &str) -> String {
    crate::diagnostic::quoted(line)
}

/// `Read, Grep`, or `nothing`.
pub(super) fn listed<T: ToString>(rules: &[T]) -> String {
    const SHOWN: usize = 10;
    if rules.is_empty() {
        return "nothing (the list is empty)".into();
    }
    let mut shown: Vec<String> = rules.iter().take(SHOWN).map(T::to_string).collect();
    if rules.len() > SHOWN {
        shown.push("…".into());
    }
    shown.join(", ")
}
