//! Rules about tools: built-in ones by name, `Bash` also with a pattern of commands, tools of MCP servers. It does not
//! know how an agent CLI is told about them.

use std::fmt;

use super::command::CommandPattern;
use super::scope::Rule;

/// The built-in tools that a rule may name. `Agent` and `Task` are two names of one tool.
pub const TOOLS: &[&str] = &[
    "Read",
    "Write",
    "Edit",
    "Bash",
    "Grep",
    "Glob",
    "NotebookEdit",
    "WebFetch",
    "WebSearch",
    "Agent",
    "Task",
    "TodoWrite",
    "Skill",
];

/// A set of tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolRule {
    /// A built-in tool.
    Named(String),
    /// The shell, for some commands only.
    Command(CommandPattern),
    /// A tool of an MCP server, or with `None` all of them.
    Server {
        /// Name of the server.
        server: String,
        /// Name of the tool there.
        tool: Option<String>,
    },
}

/// Why a text is no rule about tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolError {
    /// Nobody knows the name.
    Unknown,
    /// There is no such server.
    UnknownServer(String),
    /// Anything else, as a lowercase fragment.
    Bad(String),
}

impl ToolRule {
    /// Reads a rule: `Read`, `Bash(ls *)`, `server:tool`, `server:*`, `mcp__server__tool`, `mcp__server`. `is_server`
    /// tells which servers there are; where a name could be split in two ways, the longest server is meant.
    pub fn parse(text: &str, is_server: &dyn Fn(&str) -> bool) -> Result<ToolRule, ToolError> {
        if let Some(rest) = text.strip_prefix("mcp__") {
            let cuts = rest.match_indices("__").map(|(at, _)| (&rest[..at], Some(&rest[at + 2..])));
            let all: Vec<_> = cuts.chain([(rest, None)]).collect();
            let known = all.iter().rev().find(|(server, _)| is_server(server));
            let (server, tool) = known.ok_or_else(|| ToolError::UnknownServer(all[0].0.to_owned()))?;
            return Self::of_server(server, tool.unwrap_or("*"));
        }
        if let Some((name, inner)) = text.split_once('(') {
            let inner = inner.strip_suffix(')').ok_or_else(|| ToolError::Bad("the bracket is not closed".into()))?;
            return match name {
                "Bash" => CommandPattern::parse(inner).map(ToolRule::Command).map_err(ToolError::Bad),
                name if !TOOLS.contains(&name) => Err(ToolError::Unknown),
                "Read" | "Write" | "Edit" | "Grep" | "Glob" | "NotebookEdit" => {
                    Err(ToolError::Bad("what a tool may be used on stands under `paths:` and `deny:`".into()))
                }
                _ => Err(ToolError::Bad("only `Bash` takes a pattern in brackets".into())),
            };
        }
        if let Some((server, tool)) = text.split_once(':') {
            return match is_server(server) {
                true => Self::of_server(server, tool),
                false => Err(ToolError::UnknownServer(server.to_owned())),
            };
        }
        match TOOLS.contains(&text) {
            true => Ok(ToolRule::Named(canonical(text).to_owned())),
            false => Err(ToolError::Unknown),
        }
    }

    /// The rule that a definition from elsewhere means (an agent of `.claude/agents`): names that nobody here knows
    /// stand for themselves, since other CLIs have other tools.
    pub fn lenient(text: &str, is_server: &dyn Fn(&str) -> bool) -> ToolRule {
        Self::parse(text, is_server).unwrap_or_else(|_| ToolRule::Named(text.to_owned()))
    }

    fn of_server(server: &str, tool: &str) -> Result<ToolRule, ToolError> {
        let tool = match tool {
            "*" => None,
            "" => return Err(ToolError::Bad("the name of the tool is missing".into())),
            tool if tool.contains('*') => {
                return Err(ToolError::Bad("a server's tools are named one by one, or all by `*`".into()));
            }
            tool => Some(tool.to_owned()),
        };
        Ok(ToolRule::Server { server: server.to_owned(), tool })
    }

    /// Whether it is about that tool of an MCP server.
    pub fn is_of_server(&self, server: &str, tool: &str) -> bool {
        matches!(self, ToolRule::Server { server: s, tool: t } if s == server && t.as_ref().is_none_or(|t| t == tool))
    }

    /// The tool's name without any pattern; of a server's tools, none.
    pub fn name(&self) -> Option<&str> {
        match self {
            ToolRule::Named(name) => Some(name),
            ToolRule::Command(_) => Some("Bash"),
            ToolRule::Server { .. } => None,
        }
    }

    /// Whether what it stands for can reach the network however a process is confined: another machine fetches for it,
    /// or another process runs for it.
    pub fn reaches_network(&self) -> bool {
        match self {
            ToolRule::Named(name) => matches!(name.as_str(), "WebFetch" | "WebSearch" | "Bash"),
            ToolRule::Command(_) | ToolRule::Server { .. } => true,
        }
    }
}

/// One name for tools that have two.
pub(super) fn canonical(name: &str) -> &str {
    if name == "Task" { "Agent" } else { name }
}

impl Rule for ToolRule {
    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (ToolRule::Named(own), ToolRule::Named(other)) => canonical(own) == canonical(other),
            (ToolRule::Named(own), ToolRule::Command(_)) => own == "Bash",
            (ToolRule::Command(own), ToolRule::Command(other)) => own.contains(other),
            (ToolRule::Server { server: own, tool: mine }, ToolRule::Server { server, tool }) => {
                own == server && (mine.is_none() || mine == tool)
            }
            _ => false,
        }
    }
}

/// In the notation of agent CLIs.
impl fmt::Display for ToolRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ToolRule::Named(name) => f.write_str(name),
            ToolRule::Command(pattern) => write!(f, "Bash({})", pattern.text()),
            ToolRule::Server { server, tool: None } => write!(f, "mcp__{server}"),
            ToolRule::Server { server, tool: Some(tool) } => write!(f, "mcp__{server}__{tool}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<ToolRule, ToolError> {
        ToolRule::parse(text, &|server| matches!(server, "git" | "git__hub"))
    }

    #[test]
    fn rules_and_their_notation() {
        for (text, shown) in [
            ("Read", "Read"),
            ("Task", "Agent"),
            ("Bash(git:*)", "Bash(git *)"),
            ("git:list", "mcp__git__list"),
            ("git:*", "mcp__git"),
            ("mcp__git", "mcp__git"),
            ("mcp__git__*", "mcp__git"),
            ("mcp__git__list", "mcp__git__list"),
            ("mcp__git__hub__list", "mcp__git__hub__list"),
        ] {
            assert_eq!(rule(text).map(|r| r.to_string()), Ok(shown.to_owned()), "{text}");
        }
        let longest = rule("mcp__git__hub__list").expect("a rule");
        assert!(longest.is_of_server("git__hub", "list") && !longest.is_of_server("git", "hub__list"));
        assert_eq!(rule("Levitate"), Err(ToolError::Unknown));
        assert_eq!(rule("read"), Err(ToolError::Unknown));
        assert_eq!(rule("mcp__nosuch__x"), Err(ToolError::UnknownServer("nosuch".into())));
        assert_eq!(rule("nosuch:x"), Err(ToolError::UnknownServer("nosuch".into())));
        for text in ["Bash(", "Bash()", "Bash(a;b)", "Read(./x)", "WebSearch(x)", "git:", "git:li*"] {
            assert!(matches!(rule(text), Err(ToolError::Bad(_))), "{text}");
        }
    }

    #[test]
    fn what_contains_what() {
        let contains = |outer: &str, inner: &str| rule(outer).expect(outer).contains(&rule(inner).expect(inner));
        assert!(contains("Bash", "Bash(ls *)") && !contains("Bash(ls *)", "Bash"));
        assert!(contains("git:*", "mcp__git__list") && !contains("git:list", "git:*"));
        assert!(contains("Task", "Agent") && !contains("Read", "Write") && !contains("git:*", "mcp__git__hub__x"));
    }
}
