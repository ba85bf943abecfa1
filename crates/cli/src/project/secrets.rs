//! `[secrets.*]` of the configuration: where each secret comes from, and getting it, once for a run. It does not know
//! what secrets are used for; no message holds a value.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use raddle_engine::secrets::{self, LONGEST, Secrets};
use raddle_executors::brief;
use raddle_model::secret::is_name;

use crate::config::{Configuration, Entry, Origin, Value};
use crate::exit::Exit;
use crate::problem::Problem;
use crate::source::read_bounded;
use crate::terminal;

/// How long a command may take; a person may have to type a passphrase.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a command gets of this program's environment besides what `pass_env` names.
const PASSED: [&str; 6] = ["PATH", "HOME", "LANG", "TERM", "TMPDIR", "USER"];
/// Others than the owner.
const OTHERS: u32 = 0o077;

/// Where one secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSource {
    from: From,
    /// Where the configuration says so.
    said_at: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    Env(String),
    File(PathBuf),
    Command { argv: Vec<String>, pass_env: Vec<String> },
}

/// Every secret that the configuration declares.
pub type Declared = BTreeMap<String, SecretSource>;

/// `[secrets.*]`.
pub fn declared(configuration: &Configuration) -> Result<Declared, Problem> {
    let of = |name: &str| Ok((name.to_owned(), source(configuration, name)?));
    configuration.names("secrets").into_iter().map(of).collect()
}

fn source(configuration: &Configuration, name: &str) -> Result<SecretSource, Problem> {
    let wrong = |what: &str| Err(Problem::usage(format!("`[secrets.{name}]` {what}")));
    if !is_name(name) {
        return wrong("has a name that no reference can have: letters, digits, `_` and `-`, at most 64");
    }
    let all = configuration.section("secrets", name);
    // A project's declaration replaces the user's as a whole; half of each would be neither.
    let nearest = configuration.files.iter().rev().find(|file| all.iter().any(|(_, entry)| is_of(entry, file)));
    let entries: BTreeMap<&str, &Entry> =
        all.into_iter().filter(|(_, entry)| nearest.is_none_or(|file| is_of(entry, file))).collect();
    let sources: Vec<&str> = ["env", "file", "command"].into_iter().filter(|key| entries.contains_key(key)).collect();
    let [key] = sources[..] else { return wrong("needs exactly one of `env`, `file` and `command`") };
    if key != "command" && entries.contains_key("pass_env") {
        return wrong("has `pass_env`, which goes with `command`");
    }
    let entry = entries[key];
    let from = match (&entry.value, key) {
        (Value::Text(text), _) if text.is_empty() => return wrong(&format!("has an empty `{key}`")),
        (Value::Text(variable), "env") => From::Env(variable.clone()),
        (Value::Text(path), _) => From::File(beside(&entry.origin, path)),
        (Value::List(argv), _) if argv.first().is_none_or(String::is_empty) => {
            return wrong("has a `command` without a program");
        }
        (Value::List(argv), _) => {
            let pass_env = match entries.get("pass_env").map(|entry| &entry.value) {
                Some(Value::List(names)) => names.clone(),
                _ => Vec::new(),
            };
            From::Command { argv: argv.clone(), pass_env }
        }
        _ => unreachable!("the key table admits texts and lists here"),
    };
    Ok(SecretSource { from, said_at: entry.origin.to_string() })
}

fn is_of(entry: &Entry, file: &Path) -> bool {
    matches!(&entry.origin, Origin::File(path, _) if path == file)
}

/// A path of a configuration file is told from that file.
fn beside(origin: &Origin, path: &str) -> PathBuf {
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    match (path.strip_prefix("~/").and_then(|rest| Some(home()?.join(rest))), origin) {
        (Some(path), _) => path,
        (None, Origin::File(file, _)) => file.parent().unwrap_or(Path::new("/")).join(path),
        (None, _) => PathBuf::from(path),
    }
}

/// Gets the values of these secrets, each once. Every one that cannot be had is told, by name and source only.
pub fn resolve<'n>(declared: &Declared, wanted: impl IntoIterator<Item = &'n str>) -> Result<Secrets, Problem> {
    let mut values = BTreeMap::new();
    let mut missing = Vec::new();
    for name in wanted.into_iter().collect::<BTreeSet<&str>>() {
        let Some(source) = declared.get(name) else {
            missing.push(format!("no secret is called {name}: declare it by `[secrets.{name}]` in raddle.toml"));
            continue;
        };
        match source.value(name).and_then(|value| match secrets::check(&value) {
            Ok(()) => Ok(value),
            Err(unfit) => Err(format!("the value of {source} cannot be a secret: {unfit}")),
        }) {
            Ok(value) => {
                values.insert(name.to_owned(), value);
            }
            Err(why) => missing.push(format!("secret {name}: {why} ({})", source.said_at)),
        }
    }
    let Some((first, others)) = missing.split_first() else { return Ok(Secrets::new(values)) };
    let problem = others.iter().fold(Problem::new(Exit::Refused, first), |problem, other| problem.hint(other));
    Err(problem.hint("nothing was started; another source is never tried in its place"))
}

impl SecretSource {
    fn value(&self, name: &str) -> Result<String, String> {
        let text = match &self.from {
            From::Env(variable) => match std::env::var(variable) {
                Ok(value) => return Ok(value),
                Err(std::env::VarError::NotPresent) => return Err(format!("{self} is not set")),
                Err(std::env::VarError::NotUnicode(_)) => return Err(format!("{self} is not UTF-8")),
            },
            From::File(path) => {
                let text = read_bounded(path, LONGEST as u64 + 2).map_err(|why| format!("{self}: {why}"))?;
                if std::fs::metadata(path).is_ok_and(|about| about.mode() & OTHERS != 0) {
                    let shown = path.display();
                    terminal::tell(&format!(
                        "warning: others may read the file of secret {name}; `chmod 600 {}` ends that\n",
                        terminal::harmless(&shown.to_string())
                    ));
                }
                text
            }
            From::Command { argv, pass_env } => self.said_by(argv, pass_env)?,
        };
        let text = String::from_utf8(text).map_err(|_| format!("what {self} holds is not UTF-8"))?;
        // Editors and `echo` end texts with a newline; it belongs to no token.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }

    fn said_by(&self, argv: &[String], pass_env: &[String]) -> Result<Vec<u8>, String> {
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).env_clear();
        let is_passed = |name: &str| {
            PASSED.contains(&name) || name.starts_with("LC_") || pass_env.iter().any(|passed| passed == name)
        };
        command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed)));
        let output = brief::call_for(&mut command, PATIENCE, LONGEST as u64 + 2);
        let output = output.map_err(|error| format!("{self} cannot be run: {error}"))?;
        match output.status.success() {
            true => Ok(output.stdout),
            // What it complains of may hold what it was asked for.
            false => Err(format!("{self} failed ({}); run it by hand to see why", output.status)),
        }
    }
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.from {
            From::Env(variable) => write!(f, "environment variable {variable}"),
            From::File(path) => write!(f, "file {}", path.display()),
            From::Command { argv, .. } => write!(f, "command {}", argv[0]),
        }
    }
}
