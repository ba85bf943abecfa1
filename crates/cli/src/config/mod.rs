//! The effective configuration: flags over environment over the project's raddle.toml over the user's config.toml
//! over defaults, each value with where it came from. It does not know what the values are used for.

mod environment;
mod file;
pub mod keys;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::report::Fault;
use keys::Kind;

/// The largest configuration file that is read.
const FILE_LIMIT: u64 = 1 << 20;

/// A value of a key, already checked against the key's kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number.
    Count(u32),
    /// Text or one of the key's words.
    Text(String),
    /// `true` or `false`.
    Switch(bool),
    /// A number.
    Number(f64),
    /// A list of texts.
    List(Vec<String>),
}

/// Where an effective value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A configuration file and the line in it.
    File(PathBuf, u32),
    /// An environment variable.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
        }
    }
}

/// A value and its origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// What was said, by whom; keys that nobody set are not in it.
#[derive(Debug, Default)]
pub struct Configuration {
    entries: BTreeMap<Vec<String>, Entry>,
    /// The files that are in force, the user's first.
    pub files: Vec<PathBuf>,
}

/// What the configuration is read from.
pub struct Surroundings<'a> {
    /// The folder whose nearest ancestor's raddle.toml counts.
    pub cwd: &'a Path,
    /// The user's configuration file, if a place for it is known.
    pub user_file: Option<PathBuf>,
    /// Environment variables.
    pub environment: &'a [(String, String)],
}

impl Configuration {
    /// Reads and merges everything; all faults are told at once.
    pub fn load(from: &Surroundings<'_>) -> Result<Configuration, Vec<Fault>> {
        let mut configuration = Configuration::default();
        let mut faults = Vec::new();
        let project = from.cwd.ancestors().map(|folder| folder.join("raddle.toml")).find(|path| path.is_file());
        for path in from.user_file.iter().filter(|path| path.is_file()).chain(project.iter()) {
            match file::read(path) {
                Ok(entries) => {
                    configuration.entries.extend(entries);
                    configuration.files.push(path.clone());
                }
                Err(found) => faults.extend(found),
            }
        }
        match environment::read(from.environment, &configuration) {
            Ok(entries) => configuration.entries.extend(entries),
            Err(found) => faults.extend(found),
        }
        if faults.is_empty() { Ok(configuration) } else { Err(faults) }
    }

    /// The entry of a key, if somebody set it.
    pub fn get(&self, path: &[&str]) -> Option<&Entry> {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.entries.get(&path)
    }

    /// A whole number and its origin, or the default.
    pub fn count(&self, path: &[&str], default: u32) -> (u32, Origin) {
        match self.get(path) {
            Some(Entry { value: Value::Count(n), origin }) => (*n, origin.clone()),
            _ => (default, Origin::Default),
        }
    }

    /// A text, if somebody set it.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        match self.get(path) {
            Some(Entry { value: Value::Text(text), .. }) => Some(text),
            _ => None,
        }
    }

    /// A number, if somebody set it.
    pub fn number(&self, path: &[&str]) -> Option<f64> {
        match self.get(path) {
            Some(Entry { value: Value::Number(n), .. }) => Some(*n),
            _ => None,
        }
    }

    /// The names that the user chose in a section (`agents`, `models`, `clis`), in order.
    pub fn names(&self, section: &str) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .entries
            .keys()
            .filter(|path| path[0] == section && path.len() > 2)
            .map(|path| path[1].as_str())
            .collect();
        names.dedup();
        names
    }

    /// All entries of one name of a section, by their last key.
    pub fn section(&self, section: &str, name: &str) -> Vec<(&str, &Entry)> {
        self.entries
            .iter()
            .filter(|(path, _)| path.len() == 3 && path[0] == section && path[1] == name)
            .map(|(path, entry)| (path[2].as_str(), entry))
            .collect()
    }

    /// Every entry that somebody set, by its dotted path.
    pub fn entries(&self) -> impl Iterator<Item = (String, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.join("."), entry))
    }
}

/// What a kind is called in messages.
fn expectation(kind: Kind) -> String {
    match kind {
        Kind::Count => "a whole number, at least 1".to_owned(),
        Kind::Size => "an amount of memory, as in \"8GB\"".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Switch => "true or false".to_owned(),
        Kind::Number => "a number, at least 0".to_owned(),
        Kind::Word(words) => format!("one of {}", words.join(", ")),
        Kind::List => "a list of texts".to_owned(),
    }
}

/// Why a well-formed value is refused all the same: it asks for what is not built.
fn unbuilt(path: &[&str], value: &Value) -> Option<String> {
    let key = keys::KEYS.iter().find(|key| key.path == path)?;
    let dotted = path.join(".");
    match (key.effect, value) {
        (keys::Effect::Unbuilt(what), _) => Some(format!("`{dotted}` asks for {what}, which is not built yet")),
        (_, Value::Text(word)) if dotted == "dag_execution.optimization_mode" && word != "balanced" => Some(format!(
            "`{dotted} = \"{word}\"` is not built yet; workflows may say `optimization_mode: none` themselves"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(folder: &Path, environment: &[(&str, &str)]) -> Result<Configuration, Vec<Fault>> {
        let environment: Vec<_> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Configuration::load(&Surroundings {
            cwd: &folder.join("project/deep"),
            user_file: Some(folder.join("config.toml")),
            environment: &environment,
        })
    }

    fn folder(project: &str, user: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::create_dir_all(folder.path().join("project/deep")).expect("a folder can be made");
        std::fs::write(folder.path().join("project/raddle.toml"), project).expect("a file can be written");
        std::fs::write(folder.path().join("config.toml"), user).expect("a file can be written");
        folder
    }

    #[test]
    fn environment_beats_project_beats_user_beats_default() {
        let folder = folder(
            "[dag_execution]\nmax_parallelism = 3\n[models.house]\ntier = \"cheap\"\n",
            "[dag_execution]\nmax_parallelism = 2\nmax_local = 7\n",
        );
        let key = ["dag_execution", "max_parallelism"];
        let plain = load(folder.path(), &[]).expect("both files are valid");
        assert_eq!(plain.count(&key, 13), (3, Origin::File(folder.path().join("project/raddle.toml"), 2)));
        assert_eq!(plain.count(&["dag_execution", "max_local"], 4).0, 7);
        assert_eq!(plain.count(&["executors", "process", "max_processes"], 10), (10, Origin::Default));
        for name in ["RADDLE_DAG_EXECUTION_MAX_PARALLELISM", "RADDLE_MAX_PARALLELISM"] {
            let named = load(folder.path(), &[(name, "4")]).expect("the variable is valid");
            assert_eq!(named.count(&key, 13), (4, Origin::Environment(name.to_owned())));
        }
        let model = load(folder.path(), &[("RADDLE_MODELS_HOUSE_TIER", "expensive")]).expect("the variable is valid");
        assert_eq!(model.text(&["models", "house", "tier"]), Some("expensive"));
    }

    #[test]
    fn every_fault_has_its_file_and_line() {
        let folder = folder(
            "[dag_execution]\nmax_paralelism = 3\nmax_local = \"many\"\nresource_limits = { memory = \"plenty\" }\n\n[frob]\nx = 1\n",
            "[dag_execution\n",
        );
        let faults = load(folder.path(), &[("RADDLE_DAG_EXECUTION_MAX_PARALELISM", "3"), ("RADDLE_HOME", "/x")])
            .expect_err("there are faults");
        let told: Vec<String> = faults
            .iter()
            .map(|f| {
                let file = f.source.as_ref().map_or("-", |s| s.name.rsplit('/').next().unwrap_or(""));
                format!("{file}:{} {} {} | {}", f.line, f.code, f.message, f.help.as_deref().unwrap_or(""))
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
