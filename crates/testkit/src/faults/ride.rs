//! One run of a reference workflow from its beginning to its end, taken up again after every kill by whatever a person
//! would say. It does not know when and whom to kill.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::place::{Ended, Live, Place, SURVIVAL, Victim};
use super::processes::{self, Process};
use super::story::{Calm, Story};
use super::tally::{Found, Kind, Tally, Violation};
use super::truth::{self, Told, Words};

/// So many words bring every reference workflow to its end.
const MOST_WORDS: usize = 60;

/// See the module.
pub(crate) struct Ride<'a> {
    pub(crate) place: Place,
    pub(crate) calm: &'a Calm,
    pub(crate) run: Option<String>,
    words: Words,
    /// What was told while somebody read the events.
    pub(crate) seen: Vec<Value>,
    completed: BTreeMap<String, (u64, Value)>,
    survivors: Vec<Process>,
    /// Whether an engine died before the end, so that another must have taken over.
    interrupted: bool,
}

impl<'a> Ride<'a> {
    pub(crate) fn new(story: &'a Story, raddle: &Path) -> Found<Ride<'a>> {
        let calm = story.calm(raddle)?;
        let place = story.place(raddle)?;
        Ok(Ride {
            place,
            calm,
            run: None,
            words: Words::default(),
            seen: Vec::new(),
            completed: BTreeMap::new(),
            survivors: Vec::new(),
            interrupted: false,
        })
    }

    /// Begins the run, or goes on with it.
    pub(crate) fn start(&mut self) -> Found<Live> {
        let live = match &self.run {
            Some(run) => self.place.start(&["resume", run, "--json"]),
            None => self.place.start(&["run", "wf.yaml", "--json"]),
        }?;
        self.swept()?;
        Ok(live)
    }

    /// The same, its events going somewhere.
    pub(crate) fn start_telling(&mut self, events: Stdio) -> Found<Live> {
        let live = match &self.run {
            Some(run) => self.place.start_with(&["resume", run, "--quiet", "--events", "-"], Some(events)),
            None => self.place.start_with(&["run", "wf.yaml", "--quiet", "--events", "-"], Some(events)),
        }?;
        self.swept()?;
        Ok(live)
    }

    /// A new owner ends what nobody was left to sweep; a command that begins another run does not.
    fn swept(&mut self) -> Found<()> {
        let survivors = std::mem::take(&mut self.survivors);
        if self.run.is_none() {
            survivors.iter().for_each(Process::kill);
            return Ok(());
        }
        let since = Instant::now();
        while survivors.iter().any(Process::alive) {
            if since.elapsed() > SURVIVAL {
                return Err(Violation::new(Kind::Orphan, format!("alive beside the next owner: {survivors:?}")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Looks at what a kill has left: nothing alive, nothing lost, nothing said that is not so. The journal's events,
    /// when there is a run at all.
    pub(crate) fn after_kill(&mut self, who: Victim, tally: &mut Tally) -> Found<Option<Vec<Value>>> {
        // Where all three died in one moment nobody is left to sweep; what they leave is ended by the next owner.
        self.survivors = match who {
            Victim::All => processes::mentioning(self.place.root()),
            _ => Vec::new(),
        };
        if self.survivors.is_empty() {
            let took = self.place.emptied()?;
            tally.most("most ms until nothing was alive", took.as_millis() as u64);
        } else {
            tally.note("kills that left nobody to sweep");
        }
        if self.run.is_none() {
            self.run = self.place.ps()?.first().and_then(|row| row["run"].as_str().map(str::to_owned));
        }
        let Some(run) = self.run.clone() else {
            tally.note("kills before there was a run");
            if !self.seen.is_empty() || !truth::effects(&self.place)?.is_empty() {
                return Err(Violation::new(Kind::Lost, "something was told or done, and there is no run"));
            }
            return Ok(None);
        };
        let journal = self.place.events(&run)?;
        truth::nothing_told_is_lost(&self.seen, &journal)?;
        self.seen.clear();
        let tasks = truth::told(&journal)?;
        truth::effects_agree(&truth::effects(&self.place)?, &tasks, &self.calm.with_effects)?;
        truth::told_as_interrupted(&self.place, &run)?;
        self.interrupted |= journal.last().is_some_and(|last| last["type"] != "run_finished");
        self.remember(&run)?;
        let live = tasks.values().filter(|t| t.live.is_some()).count() as u64;
        tally.add("attempts cut between start and end", live);
        if live > 0 {
            tally.note("kills while attempts were live");
        }
        self.count_unrecorded(&tasks, tally)?;
        Ok(Some(journal))
    }

    /// Effects that the world has and the journal has no end of.
    fn count_unrecorded(&self, tasks: &BTreeMap<String, Told>, tally: &mut Tally) -> Found<()> {
        let effects = truth::effects(&self.place)?;
        let open = |(id, task): &(&String, &Told)| {
            task.live.is_some_and(|live| effects.iter().any(|e| e.task == **id && e.attempt.unwrap_or(live) == live))
        };
        tally.add("effects cut off from their record", tasks.iter().filter(open).count() as u64);
        Ok(())
    }

    /// What is recorded as completed stays as it is: the same output by the same attempt.
    fn remember(&mut self, run: &str) -> Found<()> {
        let document = self.place.show(run)?;
        let tasks = document["tasks"].as_object().into_iter().flatten();
        let completed: BTreeMap<String, (u64, Value)> = tasks
            .filter(|(_, task)| task["state"] == "completed")
            .map(|(id, task)| (id.clone(), (task["attempts"].as_u64().unwrap_or(0), task["output"].clone())))
            .collect();
        let journal = self.place.events(run)?;
        // What was completed may be undone later, which is told.
        let is_undone = |id: &str| journal.iter().any(|e| e["type"] == "compensation_started" && e["task"] == id);
        for (id, before) in &self.completed {
            if completed.get(id) != Some(before) && !is_undone(id) {
                return Err(Violation::new(Kind::Lost, format!("{id} was completed, and is {:?}", completed.get(id))));
            }
        }
        self.completed = completed;
        Ok(())
    }

    /// Brings the run to its end, answering what it asks, and looks at all of it.
    pub(crate) fn finish(&mut self, live: Live, tally: &mut Tally) -> Found<()> {
        let mut ended = live.ended()?;
        for _ in 0..MOST_WORDS {
            let document = ended.json()?;
            let run = document["run"].as_str().unwrap_or_default().to_owned();
            self.run = Some(run.clone());
            let asked = self.asks(&ended, &document);
            let Some((word, task)) = asked else {
                if ended.code != self.calm.code {
                    let what = format!("exit {:?} instead of {:?}: {}", ended.code, self.calm.code, ended.err);
                    return Err(Violation::new(Kind::Stuck, what));
                }
                self.remember(&run)?;
                let journal = truth::ended_as_calm(&self.place, &run, self.calm, &document, &self.words)?;
                if self.interrupted && !journal.iter().any(|event| event["type"] == "run_resumed") {
                    return Err(Violation::new(Kind::Untrue, "another engine took it over, and does not say so"));
                }
                let took = self.place.emptied()?;
                tally.most("most ms until nothing was alive", took.as_millis() as u64);
                return Ok(());
            };
            tally.note(format!("a person says {word}"));
            if word == "retry" {
                *self.words.retries.entry(task.clone()).or_default() += 1;
            }
            ended = self.place.raddle(&[word, &run, &task, "--json"])?;
        }
        Err(Violation::new(Kind::Stuck, "so many words, and it has not ended"))
    }

    /// What the run needs from a person: a word about a task.
    fn asks(&self, ended: &Ended, document: &Value) -> Option<(&'static str, String)> {
        let of = |wanted: &dyn Fn(&Value) -> bool| {
            let tasks = document["tasks"].as_object()?;
            tasks.iter().find(|(_, task)| wanted(task)).map(|(id, _)| id.clone())
        };
        match ended.code {
            Some(6) => Some(("retry", of(&|task| task["state"] == "waiting")?)),
            Some(1) => Some(("retry", of(&|task| task["error"]["class"] == "lost")?)),
            _ => None,
        }
    }
}
