//! Configuration from environment variables: `RADDLE_` and the key's path in capitals. It does not know the values
//! in files, only the names that the user chose there.

use std::collections::BTreeMap;

use super::keys::{self, Key};
use super::{Configuration, Entry, Origin, expectation, file, unbuilt};
use crate::report::Fault;

const PREFIX: &str = "RADDLE_";
/// Sections whose variables are configuration; any other `RADDLE_` name (RADDLE_HOME, RADDLE_RUN_ID …) is not.
const SECTIONS: &[&str] = &["DAG_EXECUTION", "EXECUTORS", "PROVIDERS", "ROUTER", "CLIS", "MODELS", "AGENTS"];
/// Short names for keys that are set often.
const SHORT: &[(&str, &[&str])] = &[("RADDLE_MAX_PARALLELISM", &["dag_execution", "max_parallelism"])];

/// Reads all variables; a name in one of our sections that is no key is a fault.
pub(super) fn read(
    variables: &[(String, String)],
    known: &Configuration,
) -> Result<BTreeMap<Vec<String>, Entry>, Vec<Fault>> {
    let mut entries = BTreeMap::new();
    let mut faults = Vec::new();
    let mut sorted: Vec<_> = variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    // The short name comes first, so that the full one wins when both are set.
    sorted.sort_by_key(|(name, _)| (!SHORT.iter().any(|(short, _)| short == name), name.clone()));
    for (name, text) in sorted {
        let Some((path, key)) = resolve(name, known) else {
            if SECTIONS.iter().any(|section| name[PREFIX.len()..].starts_with(&format!("{section}_"))) {
                let all: Vec<String> = keys::KEYS.iter().map(|key| spelled(key.path)).collect();
                let fault =
                    Fault::error("unknown-key", format!("environment variable {name} names no configuration key"));
                faults.push(match keys::nearest(name, all.iter().map(String::as_str)) {
                    Some(near) => fault.with_help(format!("did you mean {near}?")),
                    None => fault,
                });
            }
            continue;
        };
        match file::from_text(key.kind, text) {
            Some(value) => match unbuilt(key.path, &value) {
                Some(reason) => faults.push(Fault::error("not-yet-supported", format!("{name}: {reason}"))),
                None => {
                    entries.insert(path, Entry { value, origin: Origin::Environment(name.clone()) });
                }
            },
            None => faults.push(Fault::error("bad-type", format!("{name} must be {}", expectation(key.kind)))),
        }
    }
    if faults.is_empty() { Ok(entries) } else { Err(faults) }
}

fn spelled(path: &[&str]) -> String {
    format!("{PREFIX}{}", path.join("_").to_uppercase())
}

/// The key that a variable means; a user's own name in it is matched against the names that the files use, else
/// taken in lower case.
fn resolve(variable: &str, known: &Configuration) -> Option<(Vec<String>, &'static Key)> {
    let of = |path: &[&str]| path.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    let plain = SHORT.iter().find(|(short, _)| *short == variable).map(|(_, path)| *path);
    if let Some(key) = keys::KEYS.iter().find(|key| plain == Some(key.path) || spelled(key.path) == variable) {
        return Some((of(key.path), key));
    }
    keys::KEYS.iter().filter(|key| key.path.len() == 3 && key.path[1] == "*").find_map(|key| {
        let begin = format!("{PREFIX}{}_", key.path[0].to_uppercase());
        let end = format!("_{}", key.path[2].to_uppercase());
        let name = variable.strip_prefix(&begin)?.strip_suffix(&end)?;
        let known = known.names(key.path[0]).into_iter().find(|known| shout(known) == name).map(str::to_owned);
        let name = known.unwrap_or_else(|| name.to_lowercase());
        (!name.is_empty()).then(|| (vec![key.path[0].to_owned(), name, key.path[2].to_owned()], key))
    })
}

fn shout(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}
