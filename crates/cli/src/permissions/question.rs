//! One question in the notation of agent CLIs, `Read(path)`, `Bash(command)`, `server:tool`, and its answer. Links are
//! followed here as the operating system would, so that neither a link nor `..` leads around a rule.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use raddle_model::permissions::{Access, Answer, Grant, Location, PathPattern, Scope, TOOLS, ToolRule};
use raddle_model::workflow::Workflow;

use crate::problem::Problem;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// The answer by a grant whose paths are absolute.
pub(super) fn answer(question: &str, grant: &Grant, base: &Location, workflow: &Workflow) -> Result<Answer, Problem> {
    let question = question.trim();
    let (name, inner) = match question.split_once('(') {
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(inner) => (name, Some(inner)),
            None => return Err(unclear(question)),
        },
        None => (question, None),
    };
    let access = match name {
        "Read" | "Grep" | "Glob" => Some(Access::Read),
        "Write" | "Edit" | "NotebookEdit" => Some(Access::Write),
        _ => None,
    };
    match (name, inner, access) {
        ("Bash", Some(command), _) => Ok(grant.command(command)),
        ("WebFetch" | "WebSearch", _, _) => Ok(grant.tool(name).and(|| grant.network_use())),
        (_, Some(path), Some(access)) => {
            let tool = grant.tool(name);
            if !tool.allowed {
                return Ok(tool);
            }
            file(path, access, grant, base)
        }
        (_, None, _) if TOOLS.contains(&name) => Ok(grant.tool(name)),
        _ => match ToolRule::parse(name, &|server| workflow.mcp_servers.contains_key(server)) {
            Ok(ToolRule::Server { server, tool: Some(tool) }) => Ok(grant.server_tool(&server, &tool)),
            Ok(ToolRule::Named(tool)) => Ok(grant.tool(&tool)),
            _ => Err(unclear(question)),
        },
    }
}

fn unclear(question: &str) -> Problem {
    Problem::usage(format!("`{question}` is no question that can be answered"))
        .hint("ask as in 'Read(src/main.rs)', 'Write(out.txt)', 'Bash(ls -l)', 'WebFetch(https://…)' or 'server:tool'")
}

fn file(path: &str, access: Access, grant: &Grant, base: &Location) -> Result<Answer, Problem> {
    let wrong = |why: String| Problem::usage(format!("`{path}` is no path: {why}"));
    let asked = Location::parse(path).map_err(wrong)?.from(base);
    // What is denied by its name is denied, wherever the name leads.
    let named = grant.path(access, &asked);
    if !named.allowed && named.rule.starts_with("deny") {
        return Ok(named);
    }
    let real = follow(&Path::new(&base.to_string()).join(path));
    let real = real.to_str().ok_or_else(|| wrong("it is not UTF-8".into()))?;
    let real = Location::parse(real).map_err(wrong)?;
    Ok(followed(grant).path(access, &real))
}

/// The grant with links followed in the literal beginnings of its patterns.
fn followed(grant: &Grant) -> Grant {
    let pattern = |pattern: &PathPattern| {
        let real = follow(Path::new(&pattern.literal_prefix().to_string()));
        match real.to_str().and_then(|text| Location::parse(text).ok()) {
            Some(real) => pattern.with_prefix(real),
            None => pattern.clone(),
        }
    };
    let scope = |scope: &Scope<PathPattern>| match scope.rules() {
        None => Scope::All,
        Some(rules) => Scope::Only(rules.iter().map(pattern).collect()),
    };
    // A deny holds for the name as well as for what it leads to.
    let deny = grant.deny.iter().cloned().chain(grant.deny.iter().map(pattern)).collect();
    Grant { read: scope(&grant.read), write: scope(&grant.write), deny, ..grant.clone() }
}

/// The path with links and `..` followed in order, as far as there are files; what is not there stays as it is.
fn follow(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut rest: VecDeque<PathBuf> = path.components().map(|c| PathBuf::from(c.as_os_str())).collect();
    let (mut real, mut links) = (PathBuf::from("/"), 0);
    while let Some(next) = rest.pop_front() {
        match next.components().next() {
            Some(Component::RootDir) => real = PathBuf::from("/"),
            Some(Component::ParentDir) => _ = real.pop(),
            Some(Component::Normal(name)) => {
                let at = real.join(name);
                match std::fs::read_link(&at) {
                    Ok(target) if links < MAX_LINKS => {
                        links += 1;
                        let parts = target.components().map(|c| PathBuf::from(c.as_os_str())).collect::<Vec<_>>();
                        parts.into_iter().rev().for_each(|part| rest.push_front(part));
                    }
                    _ => real = at,
                }
            }
            _ => {}
        }
    }
    real
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_step_by_step() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().canonicalize().expect("it is there");
        std::fs::create_dir_all(root.join("a/b")).expect("a folder");
        std::fs::create_dir_all(root.join("c")).expect("a folder");
        std::os::unix::fs::symlink("../a/b", root.join("c/link")).expect("a link");
        std::os::unix::fs::symlink("loop", root.join("loop")).expect("a link");
        assert_eq!(follow(&root.join("c/link/../x")), root.join("a/x"));
        assert_eq!(follow(&root.join("c/link/new/y")), root.join("a/b/new/y"));
        assert_eq!(follow(&root.join("nosuch/../c")), root.join("c"));
        assert!(follow(&root.join("loop/x")).starts_with(&root));
        let base = Location::parse(root.to_str().expect("UTF-8")).expect("a path");
        let pattern = |text: &str| PathPattern::parse(text).expect("a pattern").from(&base);
        let grant = Grant {
            read: Scope::Only(vec![pattern("./c/**")]),
            deny: vec![pattern("./a/b/secret")],
            ..Grant::default()
        };
        let read = |path: &str| file(path, Access::Read, &grant, &base).expect("a path").allowed;
        assert!(read("c/x") && !read("c/link/x") && !read("c/../a/x") && !read("c/link/secret"));
        let wide = Grant { read: Scope::All, ..grant };
        let read = |path: &str| file(path, Access::Read, &wide, &base).expect("a path").allowed;
        assert!(read("c/link/x") && !read("c/link/secret") && !read("a/./b/../b/secret"));
    }
}
