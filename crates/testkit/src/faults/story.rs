//! The reference workflows: where they lie, how a place is made in which one can run, and how each ends when nobody
//! disturbs it. It does not know how they are disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::place::Place;
use super::tally::{Found, Kind, Violation};
use super::truth;

macro_rules! stories {
    ($($name:literal),+ $(,)?) => {
        [$(Story::new($name, include_str!(concat!("../../faults/", $name, ".yaml")))),+]
    };
}

/// All of them; together they have every kind of task.
pub(crate) static STORIES: [Story; 12] = stories![
    "chain",
    "fan",
    "ask",
    "doubts",
    "code",
    "tools",
    "agents",
    "worktrees",
    "retries",
    "soft",
    "waves",
    "failure",
];

/// What a task with effects calls: one line, written at once and refused beside another attempt of the same task, then
/// some time, then a word.
const EFFECT: &str = "#!/bin/sh -eu
place=$(dirname \"$0\")
exec 9>> \"$place/busy.$RADDLE_TASK_ID\"
flock -n 9 || echo \"double $RADDLE_TASK_ID $RADDLE_ATTEMPT $PPID\" >> \"$place/effects\"
echo \"$RADDLE_TASK_ID $RADDLE_ATTEMPT $RADDLE_IDEMPOTENCY_KEY $PPID\" >> \"$place/effects\"
sleep \"$(printf '0.%03d' \"$1\")\"
shift
if test $# -gt 0; then echo \"$*\"; fi
";

/// What undoes a task's effect: one line of its own, then some time.
const UNDO: &str = "#!/bin/sh -eu
place=$(dirname \"$0\")
echo \"$RADDLE_TASK_ID $RADDLE_ATTEMPT $RADDLE_IDEMPOTENCY_KEY $PPID\" >> \"$place/undone\"
sleep \"$(printf '0.%03d' \"$1\")\"
";

/// This program, found once: its file may be replaced while it runs.
fn player() -> Found<String> {
    let own = std::env::current_exe().map_err(Violation::broken)?;
    Ok(own.to_string_lossy().trim_end_matches(" (deleted)").to_owned())
}

/// A reference workflow.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) name: &'static str,
    text: &'static str,
    calm: OnceLock<Calm>,
}

/// How it ends when nobody disturbs it.
#[derive(Debug, Clone)]
pub(crate) struct Calm {
    pub(crate) code: Option<i32>,
    pub(crate) outcome: String,
    pub(crate) outputs: Value,
    pub(crate) states: BTreeMap<String, String>,
    /// Tasks that write down that they are there.
    pub(crate) with_effects: BTreeSet<String>,
    pub(crate) wall: Duration,
}

impl Story {
    pub(crate) const fn new(name: &'static str, text: &'static str) -> Story {
        Story { name, text, calm: OnceLock::new() }
    }

    /// A place in which it can run, as `wf.yaml`.
    pub(crate) fn place(&self, raddle: &Path) -> Found<Place> {
        let place = Place::new(raddle)?;
        let (work, player) = (place.work(""), player()?);
        let work = work.to_string_lossy().trim_end_matches('/').to_owned();
        let filled = |text: &str| text.replace("@PLACE@", &work).replace("@PLAYER@", &player);
        place.program("effect", EFFECT)?;
        place.program("undo", UNDO)?;
        place.file("raddle.toml", &filled("[clis.standin]\ncommand = ['@PLAYER@', 'play', 'agent', '@PLACE@']\n"))?;
        if self.text.contains("executor: worktree") {
            let name = "[user]\nname = Faults\nemail = faults@localhost\n";
            std::fs::write(place.root().join("home/.gitconfig"), name).map_err(Violation::broken)?;
            place.file("one.txt", "one\n")?;
            for words in [
                &["init", "--quiet", "--initial-branch=main"][..],
                &["add", "one.txt"],
                &["commit", "--quiet", "--message=start"],
            ] {
                let mut git = Command::new("git");
                git.args(words);
                place.surroundings(&mut git);
                let done = git.output().map_err(Violation::broken)?;
                if !done.status.success() {
                    return Err(Violation::broken(String::from_utf8_lossy(&done.stderr)));
                }
            }
        }
        place.file("wf.yaml", &filled(self.text))?;
        Ok(place)
    }

    /// Why the program cannot run it yet, in its own words; nothing when it can.
    pub(crate) fn objection(&self, raddle: &Path) -> Found<Option<String>> {
        let place = self.place(raddle)?;
        let (_, found) = place.json(&["validate", "wf.yaml", "--json"])?;
        let wrong = found["diagnostics"].as_array().into_iter().flatten().find(|d| d["severity"] == "error");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match wrong {
            Some(d) if d["code"] == "not-yet-supported" => Ok(Some(text(&d["message"]))),
            Some(d) => Err(Violation::broken(format!("{}: {}", self.name, text(&d["message"])))),
            None => Ok(None),
        }
    }

    /// How it ends when nobody disturbs it.
    pub(crate) fn calm(&self, raddle: &Path) -> Found<&Calm> {
        if self.calm.get().is_none() {
            let lived = self.live_calmly(raddle)?;
            // Whoever came first, it ends the same way.
            let _ = self.calm.set(lived);
        }
        self.calm.get().ok_or_else(|| Violation::broken("a cell that was set is empty"))
    }

    fn live_calmly(&self, raddle: &Path) -> Found<Calm> {
        let place = self.place(raddle)?;
        // Whoever is held until somebody lets it go is let go.
        place.file("go", "")?;
        let since = Instant::now();
        let (code, document) = place.json(&["run", "wf.yaml", "--json"])?;
        let wall = since.elapsed();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let Some(tasks) = document["tasks"].as_object() else {
            return Err(Violation::new(Kind::Broken, format!("{} has no tasks: {document}", self.name)));
        };
        let states = tasks.iter().map(|(id, task)| (id.clone(), text(&task["state"]))).collect();
        let effects = truth::effects(&place)?;
        let calm = Calm {
            code,
            outcome: text(&document["outcome"]),
            outputs: document["outputs"].clone(),
            states,
            with_effects: effects.into_iter().map(|e| e.task).collect(),
            wall,
        };
        place.emptied()?;
        Ok(calm)
    }
}
