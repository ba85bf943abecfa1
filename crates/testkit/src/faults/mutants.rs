//! Deliberate breakages of the guarantees, kept as patches, each with the test that must notice it: applied to a copy
//! of the workspace, built there, and tried. It does not know what the patches mean.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::talk;

/// The folder of the patches, from the root of the workspace.
pub const FOLDER: &str = "crates/testkit/mutants";

/// One breakage.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// `NN-name`.
    pub name: String,
    /// The promise that it breaks.
    pub guarantee: String,
    /// The command that must fail then.
    pub caught_by: Vec<String>,
    /// What it must be heard to say: the name of the test, or the kind of the violation.
    pub saying: String,
    /// Where the patch is.
    pub path: PathBuf,
}

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Caught,
    Missed,
    /// It does not apply, or does not compile: it proves nothing.
    Unusable,
}

/// The root of the workspace that this program was built in.
pub fn root() -> Result<PathBuf, String> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().map_err(|e| format!("no workspace: {e}"))
}

/// All of them, in order, with complete headers.
pub fn all(root: &Path) -> Result<Vec<Mutant>, String> {
    let entries = std::fs::read_dir(root.join(FOLDER)).map_err(|e| format!("{FOLDER}: {e}"))?;
    let paths = entries.flatten().map(|entry| entry.path()).filter(|p| p.extension().is_some_and(|e| e == "patch"));
    let mut mutants: Vec<Mutant> = paths.map(read).collect::<Result<_, _>>()?;
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

fn read(path: PathBuf) -> Result<Mutant, String> {
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let header = |key: &str| {
        let line = text.lines().take_while(|line| !line.starts_with("--- ")).find_map(|line| line.strip_prefix(key));
        line.map(|rest| rest.trim().to_owned()).ok_or_else(|| format!("{} says no `{key}`", path.display()))
    };
    Ok(Mutant {
        name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
        guarantee: header("Guarantee:")?,
        caught_by: header("Caught by:")?.split(' ').map(str::to_owned).collect(),
        saying: header("Saying:")?,
        path,
    })
}

/// Whether a patch fits the sources as they are.
pub fn applies(mutant: &Mutant, root: &Path) -> Result<(), String> {
    git(root, &["apply", "--check", "-C1", &mutant.path.to_string_lossy()])
}

/// `faults mutants …`: false when one was missed.
pub(crate) fn run(only: &[String], list: bool) -> Result<bool, String> {
    let root = root()?;
    let chosen = |m: &Mutant| only.is_empty() || only.iter().any(|n| m.name.starts_with(n.as_str()));
    let mutants: Vec<Mutant> = all(&root)?.into_iter().filter(chosen).collect();
    if list {
        mutants.iter().for_each(|m| super::say(&format!("{:<34} {}", m.name, m.guarantee)));
        return Ok(true);
    }
    let place = Workshop::open(&root)?;
    let mut missed = 0;
    for mutant in &mutants {
        let since = Instant::now();
        let (fate, why) = place.fate(mutant);
        missed += usize::from(fate != Fate::Caught);
        let word = match fate {
            Fate::Caught => "caught",
            Fate::Missed => "MISSED",
            Fate::Unusable => "UNUSABLE",
        };
        super::say(&format!("{:<34} {word:<9} {:>4} s  {why}", mutant.name, since.elapsed().as_secs()));
    }
    super::say(&format!("{} of {} caught", mutants.len() - missed, mutants.len()));
    Ok(missed == 0)
}

/// A copy of the sources beside the build folder, with a build folder of its own.
struct Workshop {
    tree: PathBuf,
    target: PathBuf,
}

impl Workshop {
    fn open(root: &Path) -> Result<Workshop, String> {
        let folder = root.join("target/mutants");
        let place = Workshop { tree: folder.join("tree"), target: folder.join("build") };
        let io = |e: std::io::Error| e.to_string();
        std::fs::create_dir_all(&place.tree).map_err(io)?;
        // Only what differs is written, so that what was built last time is still good.
        let listed =
            Command::new("git").args(["ls-files", "-z", "-co", "--exclude-standard"]).current_dir(root).output();
        let listed = String::from_utf8_lossy(&listed.map_err(io)?.stdout).into_owned();
        let names: BTreeSet<&str> = listed.split_terminator('\0').filter(|name| root.join(name).is_file()).collect();
        remove_others(&place.tree, &place.tree, &names).map_err(io)?;
        for name in names {
            let (from, to) = (root.join(name), place.tree.join(name));
            let bytes = std::fs::read(&from).map_err(io)?;
            if std::fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            std::fs::create_dir_all(to.parent().unwrap_or(&place.tree)).map_err(io)?;
            std::fs::copy(&from, &to).map_err(io)?;
        }
        place.lend(&root.join("target/debug"))?;
        Ok(place)
    }

    /// Lends what is compiled already of other people's crates; ours are compiled anew, being elsewhere.
    fn lend(&self, built: &Path) -> Result<(), String> {
        let debug = self.target.join("debug");
        if debug.exists() || !built.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(&debug).map_err(|e| e.to_string())?;
        for part in ["deps", "build", ".fingerprint"] {
            let copied = Command::new("cp").arg("-al").arg(built.join(part)).arg(&debug).output();
            copied.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn fate(&self, mutant: &Mutant) -> (Fate, String) {
        let patch = mutant.path.to_string_lossy().into_owned();
        // Inside the checkout git would look for the paths from its top.
        if let Err(what) = git(&self.tree, &["apply", "-C1", &patch]) {
            return (Fate::Unusable, what);
        }
        let fate = self.tried(mutant);
        if let Err(what) = git(&self.tree, &["apply", "--reverse", "-C1", &patch]) {
            talk(&format!("faults: {} cannot be taken back: {what}", mutant.name));
        }
        fate
    }

    fn tried(&self, mutant: &Mutant) -> (Fate, String) {
        let words: Vec<&str> = mutant.caught_by.iter().map(String::as_str).collect();
        let built = match words[..] {
            ["cargo", "test", ..] => {
                let before: Vec<&str> = words[1..].iter().copied().take_while(|word| *word != "--").collect();
                self.cargo(&[&before[..], &["--no-run"]].concat())
            }
            _ => self.cargo(&["build", "-p", "raddle-cli", "-p", "raddle-testkit", "--bins"]),
        };
        if let Err(what) = built {
            let first = what.lines().find(|line| line.starts_with("error")).unwrap_or("nothing is said");
            return (Fate::Unusable, format!("does not compile: {first}"));
        }
        let tried = match words[..] {
            ["cargo", "test", ..] => self.cargo(&words[1..]),
            ["faults", ..] => self.output(Command::new(self.target.join("debug/faults")).args(&words[1..])),
            _ => return (Fate::Unusable, "caught by neither `cargo test …` nor `faults …`".into()),
        };
        match tried {
            Ok(()) => (Fate::Missed, format!("{} is content", mutant.caught_by.join(" "))),
            Err(said) if said.contains(&mutant.saying) => (Fate::Caught, mutant.saying.clone()),
            Err(said) => (Fate::Missed, format!("another thing failed: {}", said.lines().last().unwrap_or("nothing"))),
        }
    }

    fn cargo(&self, words: &[&str]) -> Result<(), String> {
        self.output(Command::new("cargo").args(words))
    }

    /// All that a command that failed has said.
    fn output(&self, command: &mut Command) -> Result<(), String> {
        let out = command
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .env_remove("RADDLE_BIN")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| e.to_string())?;
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        if out.status.success() { Ok(()) } else { Err(said) }
    }
}

/// Removes what a later state of the sources does not have any more.
fn remove_others(folder: &Path, tree: &Path, names: &BTreeSet<&str>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, tree, names)?;
        } else if !path.strip_prefix(tree).ok().and_then(Path::to_str).is_some_and(|name| names.contains(name)) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// git outside of any repository, so that paths are taken from where it is called.
fn git(place: &Path, words: &[&str]) -> Result<(), String> {
    let mut command = Command::new("git");
    command.args(words).current_dir(place);
    command.env("GIT_DIR", "/nonexistent").env("GIT_CEILING_DIRECTORIES", place);
    let out = command.output().map_err(|e| format!("git: {e}"))?;
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()) }
}
