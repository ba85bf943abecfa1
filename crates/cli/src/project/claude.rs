//! Agent definitions and skills of a project: `.claude/agents/*.md` and `.claude/skills/NAME/SKILL.md` of the nearest
//! ancestor folder that has them. It does not know which of them a workflow uses.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use raddle_model::catalog::AgentDefinition;

use super::front_matter::{self, Document};
use crate::source::read_bounded;

/// At most so many agents and so many skills are read, each at most this long.
const FILES: usize = 2_000;
const FILE_LIMIT: u64 = 1 << 20;
/// What all skills together may take in memory.
const SKILLS_LIMIT: usize = 64 << 20;

/// The agents of the project, by name.
pub(super) fn agents(base_dir: &Path, notes: &mut Vec<String>) -> BTreeMap<String, AgentDefinition> {
    let mut agents = BTreeMap::new();
    for path in entries(base_dir, ".claude/agents", notes) {
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let Some(text) = read(&path, notes) else { continue };
        let document = front_matter::split(&text);
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let name = document.get("name").map_or(stem, str::to_owned);
        agents.insert(name, agent(&document));
    }
    agents
}

fn agent(document: &Document<'_>) -> AgentDefinition {
    AgentDefinition {
        cli: document.get("cli").map(str::to_owned),
        // `inherit` is the file format's word for "no model of its own".
        model: document.get("model").filter(|model| *model != "inherit").map(str::to_owned),
        skills: document.get("skills").map(front_matter::list).unwrap_or_default(),
        tools: document.get("tools").filter(|tools| *tools != "*").map(front_matter::list),
        system_prompt: (!document.body.is_empty()).then(|| document.body.to_owned()),
        description: document.get("description").map(str::to_owned),
        mcp: None,
    }
}

/// The texts of the project's skills, by folder name.
pub(super) fn skills(base_dir: &Path, notes: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut skills = BTreeMap::new();
    let mut held = 0;
    for folder in entries(base_dir, ".claude/skills", notes) {
        let path = folder.join("SKILL.md");
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { continue };
        if !path.exists() {
            continue;
        }
        let Some(text) = read(&path, notes) else { continue };
        let body = front_matter::split(&text).body.to_owned();
        held += body.len();
        if held > SKILLS_LIMIT {
            notes.push(format!("skills after {name} are left out: together they exceed {} MB", SKILLS_LIMIT >> 20));
            break;
        }
        skills.insert(name.to_owned(), body);
    }
    skills
}

/// The entries of the nearest such folder, sorted; without one, nothing.
fn entries(base_dir: &Path, below: &str, notes: &mut Vec<String>) -> Vec<PathBuf> {
    let Some(folder) = base_dir.ancestors().map(|a| a.join(below)).find(|folder| folder.is_dir()) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = match fs::read_dir(&folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).take(FILES + 1).collect(),
        Err(e) => {
            notes.push(format!("cannot read {}: {}", folder.display(), crate::problem::io_words(&e)));
            return Vec::new();
        }
    };
    found.sort();
    if found.len() > FILES {
        notes.push(format!("{} holds more than {FILES} entries; the rest is left out", folder.display()));
        found.truncate(FILES);
    }
    found
}

fn read(path: &Path, notes: &mut Vec<String>) -> Option<String> {
    match read_bounded(path, FILE_LIMIT)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not valid UTF-8".to_owned()))
    {
        Ok(text) => Some(text),
        Err(reason) => {
            notes.push(format!("{} is left out: {reason}", path.display()));
            None
        }
    }
}
