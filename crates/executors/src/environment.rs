//! The environment that children get: an allow-list of this process's own, then what the attempt adds. It does not
//! know programs; adapters of agent CLIs name what they need beyond the list. The list is read once.

use std::ffi::CStr;
use std::os::unix::ffi::OsStringExt;

/// Names that every child inherits when they are set here.
const ALLOWED: [&str; 5] = ["PATH", "HOME", "LANG", "TERM", "TMPDIR"];
/// Beginnings of names that every child inherits.
const ALLOWED_PREFIXES: [&str; 1] = ["LC_"];
/// The PATH of a child when this process has none: the usual one of a POSIX system.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Allow-listed variables of this process, read once.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Environment {
    /// The allow-listed part of this process's environment. `also` adds names; one that ends in `*` is a prefix.
    pub(crate) fn of_this_process(also: &[&str]) -> Self {
        Self::filtered(std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec())), also)
    }

    /// Nothing at all.
    pub(crate) fn empty() -> Self {
        Environment { entries: Vec::new() }
    }

    fn filtered(all: impl Iterator<Item = (Vec<u8>, Vec<u8>)>, also: &[&str]) -> Self {
        let allowed = |name: &[u8]| {
            ALLOWED.iter().any(|a| a.as_bytes() == name)
                || ALLOWED_PREFIXES.iter().any(|p| name.starts_with(p.as_bytes()))
                || also.iter().any(|a| match a.strip_suffix('*') {
                    Some(prefix) => name.starts_with(prefix.as_bytes()),
                    None => a.as_bytes() == name,
                })
        };
        let mut entries: Vec<_> = all.filter(|(name, _)| allowed(name)).collect();
        if !entries.iter().any(|(name, _)| name == b"PATH") {
            entries.push((b"PATH".to_vec(), DEFAULT_PATH.into()));
        }
        Environment { entries }
    }

    /// Its entries that are text, but for those that say where things are on this machine.
    pub(crate) fn beyond_path(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let entries = self.entries.iter().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
        entries.filter(|(name, _)| !["PATH", "HOME", "TMPDIR"].contains(&name.as_str())).collect()
    }

    /// The PATH that a child with these additions gets.
    pub(crate) fn path(&self, more: &[(&str, &str)]) -> Vec<u8> {
        let added = more.iter().rev().find(|(name, _)| *name == "PATH").map(|(_, value)| value.as_bytes().to_vec());
        let own = || self.entries.iter().find(|(name, _)| name == b"PATH").map(|(_, value)| value.clone());
        added.or_else(own).unwrap_or_default()
    }

    /// Writes this environment and `more` over it into `block`; of one name the last entry wins.
    pub(crate) fn fill(&self, more: &[(&str, &str)], block: &mut Block) -> Result<(), BadEntry> {
        block.clear();
        if let Some((name, _)) = more.iter().find(|(name, value)| !sound(name, value)) {
            return Err(BadEntry { name: (*name).to_owned() });
        }
        for (name, value) in &self.entries {
            if !more.iter().any(|(other, _)| other.as_bytes() == name) {
                block.push(name, value);
            }
        }
        for (i, (name, value)) in more.iter().enumerate() {
            if !more[i + 1..].iter().any(|(later, _)| later == name) {
                block.push(name.as_bytes(), value.as_bytes());
            }
        }
        Ok(())
    }
}

fn sound(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

/// A variable that no process can have: an empty name, a `=` in the name, or a NUL.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadEntry {
    /// Its name as given.
    pub name: String,
}

impl std::fmt::Display for BadEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "environment variable {:?} has an impossible name or a NUL in its value", self.name)
    }
}

impl std::error::Error for BadEntry {}

/// `NAME=value` entries in one piece of memory, ready for the kernel; reused from child to child.
#[derive(Debug, Default)]
pub(crate) struct Block {
    text: Vec<u8>,
    starts: Vec<usize>,
}

impl Block {
    fn clear(&mut self) {
        self.text.clear();
        self.starts.clear();
    }

    fn push(&mut self, name: &[u8], value: &[u8]) {
        self.starts.push(self.text.len());
        self.text.extend_from_slice(name);
        self.text.push(b'=');
        self.text.extend_from_slice(value);
        self.text.push(0);
    }

    /// The value of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.entries().find_map(|entry| entry.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// All entries, each `NAME=value`.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &CStr> {
        self.starts
            .iter()
            .map(|&start| CStr::from_bytes_until_nul(&self.text[start..]).expect("every entry was pushed with its NUL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(environment: &Environment, more: &[(&str, &str)]) -> Vec<String> {
        let mut block = Block::default();
        environment.fill(more, &mut block).unwrap();
        block.entries().map(|e| e.to_str().unwrap().to_owned()).collect()
    }

    fn own(pairs: &[(&str, &str)], also: &[&str]) -> Environment {
        Environment::filtered(pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())), also)
    }

    #[test]
    fn only_listed_names_pass() {
        let own = [("PATH", "/bin"), ("LC_TIME", "C"), ("GITHUB_TOKEN", "s"), ("LCX", "s"), ("PATHX", "s")];
        assert_eq!(shown(&self::own(&own, &[]), &[]), ["PATH=/bin", "LC_TIME=C"]);
        assert_eq!(shown(&self::own(&own, &["GITHUB_*"]), &[]), ["PATH=/bin", "LC_TIME=C", "GITHUB_TOKEN=s"]);
    }

    #[test]
    fn later_entries_win() {
        let own = own(&[("PATH", "/bin"), ("HOME", "/h")], &[]);
        assert_eq!(
            shown(&own, &[("HOME", "/a"), ("X", "1"), ("X", "2"), ("HOME", "/b")]),
            ["PATH=/bin", "X=2", "HOME=/b"]
        );
    }

    #[test]
    fn impossible_entries_are_refused() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0y")] {
            assert!(Environment::empty().fill(&[(name, value)], &mut Block::default()).is_err());
        }
    }
}
