//! Merging commits without a work tree, and what is decided where they do not merge by themselves: whole files of one
//! side by a declared policy, or nothing at all. It does not know branches' owners.

use super::git::{Git, fields};
use super::{Repository, Trouble};

/// What becomes of a file that both sides have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing is merged.
    Stop,
    /// The whole file as the branch that is merged into has it.
    Ours,
    /// The whole file as the branch that is merged has it.
    Theirs,
}

/// Policies in order; the first one whose pattern fits a path decides, and where none fits, nothing is merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies(Vec<(Option<String>, Policy)>);

/// How a merge came out.
#[derive(Debug)]
pub enum Merge {
    /// This commit is the merge.
    Made(String),
    /// It was part of this commit already, or the other way round.
    Already(String),
    /// These files do not merge.
    Conflict(Vec<String>),
}

/// Files that do not merge by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Whose branch it is.
    pub task: String,
    /// The branch.
    pub branch: String,
    /// Into what it was to be merged.
    pub into: String,
    /// The files.
    pub files: Vec<String>,
}

/// A branch that was merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Whose branch it is.
    pub task: String,
    /// The branch.
    pub branch: String,
    /// The commit that merges it; `None` when there was nothing to merge.
    pub commit: Option<String>,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 10;
        let shown = self.files.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = self.files.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        write!(f, "conflict: {} and {} have both changed {shown}{more}", self.into, self.branch)
    }
}

impl Policies {
    /// Of words like `theirs` or `ours:docs/**`.
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Policies, String> {
        let policy = |word: &str| {
            let (policy, pattern) = word.split_once(':').map_or((word, None), |(p, pattern)| (p, Some(pattern)));
            let policy = match policy {
                "stop" => Policy::Stop,
                "ours" => Policy::Ours,
                "theirs" => Policy::Theirs,
                "agent" => return Err("not-yet-supported: the policy `agent` is not built yet".to_owned()),
                other => return Err(format!("`{other}` is no policy for conflicts: one of stop, ours, theirs")),
            };
            match pattern {
                Some("") => Err(format!("`{word}` names no path after the colon")),
                pattern => Ok((pattern.map(str::to_owned), policy)),
            }
        };
        words.into_iter().map(policy).collect::<Result<_, _>>().map(Policies)
    }

    fn of(&self, path: &str) -> Policy {
        let fits = |pattern: &Option<String>| pattern.as_ref().is_none_or(|pattern| is_match(pattern, path));
        self.0.iter().find(|(pattern, _)| fits(pattern)).map_or(Policy::Stop, |(_, policy)| *policy)
    }
}

/// `*` stands for any part of one name, `**` for any part of a path; a pattern without `/` is of names anywhere.
fn is_match(pattern: &str, path: &str) -> bool {
    let path = if pattern.contains('/') { path } else { path.rsplit('/').next().unwrap_or(path) };
    fn fits(pattern: &[u8], path: &[u8]) -> bool {
        match pattern {
            [] => path.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=path.len()).any(|n| fits(rest, &path[n..])),
            [b'*', rest @ ..] => {
                let name = path.iter().position(|b| *b == b'/').unwrap_or(path.len());
                (0..=name).any(|n| fits(rest, &path[n..]))
            }
            [first, rest @ ..] => path.first() == Some(first) && fits(rest, &path[1..]),
        }
    }
    fits(pattern.as_bytes(), path.as_bytes())
}

/// One side's version of a file that does not merge.
struct Stage {
    mode: String,
    object: String,
    stage: u8,
    path: Vec<u8>,
}

/// Merges `theirs` into `ours` as a new commit. Nothing but objects is written.
pub(crate) fn merge(
    repository: &Repository,
    git: &Git,
    ours: &str,
    theirs: &str,
    policies: &Policies,
    subject: &str,
) -> Result<Merge, Trouble> {
    if repository.contains(git, ours, theirs)? {
        return Ok(Merge::Already(ours.to_owned()));
    }
    let call =
        git.call(&["merge-tree", "--write-tree", "-z", "--no-messages", "--allow-unrelated-histories", ours, theirs]);
    let said = call.repository(&repository.path).said()?;
    if !matches!(said.code, 0 | 1) {
        return Err(said.trouble("merge-tree"));
    }
    let mut entries = fields(&said.out);
    let tree = String::from_utf8_lossy(entries.next().unwrap_or_default()).into_owned();
    let stages: Vec<Stage> = entries.filter_map(stage).collect();
    let tree = if said.code == 0 {
        tree
    } else {
        let mut open: Vec<String> = stages.iter().map(|s| String::from_utf8_lossy(&s.path).into_owned()).collect();
        open.sort();
        open.dedup();
        open.retain(|path| policies.of(path) == Policy::Stop);
        if !open.is_empty() || stages.is_empty() {
            return Ok(Merge::Conflict(open));
        }
        decided(repository, git, &tree, &stages, policies)?
    };
    repository.commit(git, &tree, &[ours, theirs], &format!("{subject}\n")).map(Merge::Made)
}

fn stage(entry: &[u8]) -> Option<Stage> {
    let tab = entry.iter().position(|byte| *byte == b'\t')?;
    let head = std::str::from_utf8(&entry[..tab]).ok()?;
    let mut words = head.split(' ');
    let (mode, object, stage) = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    Some(Stage { mode: mode.to_owned(), object: object.to_owned(), stage, path: entry[tab + 1..].to_vec() })
}

/// The tree in which every file in conflict is that of the side that its policy names, or absent if that side has none.
fn decided(
    repository: &Repository,
    git: &Git,
    tree: &str,
    stages: &[Stage],
    policies: &Policies,
) -> Result<String, Trouble> {
    let folder = tempfolder(&repository.path)?;
    let index = folder.join("index");
    let made = (|| {
        git.call(&["read-tree", tree]).repository(&repository.path).index(&index).run()?;
        let mut lines = Vec::new();
        for conflict in stages {
            lines.extend_from_slice(format!("0 {}\t", "0".repeat(conflict.object.len())).as_bytes());
            lines.extend_from_slice(&conflict.path);
            lines.push(0);
        }
        for conflict in stages {
            let wanted = match policies.of(&String::from_utf8_lossy(&conflict.path)) {
                Policy::Ours => 2,
                Policy::Theirs => 3,
                Policy::Stop => continue,
            };
            if conflict.stage == wanted {
                lines.extend_from_slice(format!("{} {}\t", conflict.mode, conflict.object).as_bytes());
                lines.extend_from_slice(&conflict.path);
                lines.push(0);
            }
        }
        let told = git.call(&["update-index", "-z", "--index-info"]).input(lines);
        told.repository(&repository.path).index(&index).run()?;
        git.call(&["write-tree"]).repository(&repository.path).index(&index).line()
    })();
    let _ = std::fs::remove_dir_all(&folder);
    made
}

/// A folder of ours beside git's objects, for an index that nobody else sees.
fn tempfolder(repository: &std::path::Path) -> Result<std::path::PathBuf, Trouble> {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = repository.join(format!("raddle-merge.{}.{n}", std::process::id()));
    // One that an earlier process of the same number left is in the way of nobody.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).map_err(|error| Trouble::io("make a folder in the repository", &error))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_policy_that_fits_decides() {
        let policies = Policies::parse(["theirs:*.lock", "ours:docs/**", "stop:src/*.rs", "theirs"]).unwrap();
        for (path, policy) in [
            ("a/b/Cargo.lock", Policy::Theirs),
            ("docs/a/b.md", Policy::Ours),
            ("src/lib.rs", Policy::Stop),
            ("src/deep/lib.rs", Policy::Theirs),
        ] {
            assert_eq!(policies.of(path), policy, "{path}");
        }
        assert_eq!(Policies::default().of("x"), Policy::Stop);
        assert!(Policies::parse(["mine"]).unwrap_err().contains("stop, ours, theirs"));
        assert!(Policies::parse(["agent"]).unwrap_err().contains("not-yet-supported"));
    }
}
