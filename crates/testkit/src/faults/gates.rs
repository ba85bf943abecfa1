//! Questions that wait for a person while everything around them dies: the engine before, while and after it asks, and
//! whoever carries the answer. Nothing passes without a yes that somebody really said. It does not know how answers
//! travel.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raddle_sim::chance::Chance;
use serde_json::Value;

use super::options::Options;
use super::place::{Live, Place, Victim};
use super::rounds;
use super::story::Story;
use super::tally::{Account, Found, Kind, Tally, Violation};
use super::truth;

static GATES: Story = Story::new("gates", include_str!("../../faults/gates.yaml"));
/// Crash points of one run; then it may end.
const CRASHES_PER_RUN: u64 = 8;
/// So many steps bring it to its end.
const MOST_STEPS: u64 = 80;

pub(crate) fn section(options: &Options) -> Account {
    let mut account = Account::new("gates");
    match GATES.objection(&options.raddle) {
        Ok(None) => {}
        Ok(objection) => {
            account.skipped = objection;
            return account;
        }
        Err(violation) => {
            account.violations.push(violation);
            return account;
        }
    }
    let wanted = options.rounds(60, 2000);
    account.claim("crash points", wanted);
    if !options.is_trial() {
        account.claim("engines killed", wanted / 3);
        account.claim("messengers killed", wanted / 10);
        account.claim("gates passed by a yes", wanted / 20);
        account.claim("gates closed by a no", wanted / 200);
    }
    rounds::until_claimed(options, &mut account, wanted * 2, |seed, tally| {
        let place = GATES.place(&options.raddle)?;
        let said = BTreeMap::new();
        Wait { place, chance: Chance::of(seed), run: None, said, rejects: seed % 8 == 7, crashes: 0 }.live(tally)
    });
    account
}

struct Wait {
    place: Place,
    chance: Chance,
    run: Option<String>,
    /// How often somebody has said something to each task, by word.
    said: BTreeMap<(&'static str, String), u64>,
    /// Whether the person says no to the first question.
    rejects: bool,
    crashes: u64,
}

impl Wait {
    fn live(mut self, tally: &mut Tally) -> Found<()> {
        for _ in 0..MOST_STEPS {
            let waiting = match &self.run {
                Some(run) => waiting(&self.place.show(run)?),
                None => Vec::new(),
            };
            if !waiting.is_empty() && self.chance.one_in(2) {
                let task = waiting[self.chance.below(waiting.len() as u64) as usize].clone();
                self.answer(task, tally)?;
            } else if self.drive(tally)? {
                return self.look_back(tally);
            }
        }
        Err(Violation::new(Kind::Stuck, "so many answers, and it has not ended"))
    }

    /// Whether somebody dies in this step; later on everybody lives.
    fn crash(&mut self) -> bool {
        self.crashes < CRASHES_PER_RUN && !self.chance.one_in(3)
    }

    /// Somebody says yes, or no; sometimes the messenger dies on the way.
    fn answer(&mut self, task: String, tally: &mut Tally) -> Found<()> {
        let word = if self.rejects && task == "gate" { "reject" } else { "approve" };
        let Some(run) = self.run.clone() else { return Ok(()) };
        *self.said.entry((word, task.clone())).or_default() += 1;
        // The answer alone, so that what follows from it is another step.
        let live = self.place.start(&[word, &run, &task])?;
        if self.crash() {
            self.kill(live, 20_000, "messengers killed", tally)?;
        } else {
            live.ended()?;
            self.place.emptied()?;
        }
        self.look(tally)
    }

    /// An engine drives the run until it waits or ends, or dies on the way; true when it has ended.
    fn drive(&mut self, tally: &mut Tally) -> Found<bool> {
        let live = match &self.run {
            Some(run) => self.place.start(&["resume", run, "--no-wait", "--json"]),
            None => self.place.start(&["run", "wf.yaml", "--no-wait", "--json"]),
        }?;
        let over = if self.crash() {
            self.kill(live, 120_000, "engines killed", tally)?;
            false
        } else {
            matches!(live.ended()?.code, Some(0 | 1))
        };
        if self.run.is_none() {
            self.run = self.place.ps()?.first().and_then(|row| row["run"].as_str().map(str::to_owned));
        }
        self.look(tally)?;
        Ok(over)
    }

    fn kill(&mut self, mut live: Live, within_us: u64, whom: &str, tally: &mut Tally) -> Found<()> {
        // The moment is what this is about.
        std::thread::sleep(Duration::from_micros(self.chance.below(within_us)));
        if !live.has_ended() {
            let victim = self.chance.pick(&[Victim::Engine, Victim::Engine, Victim::Front]);
            live.killed(victim)?;
            self.crashes += 1;
            tally.note("crash points");
            tally.note(whom);
        }
        self.place.emptied().map(|_| ())
    }

    /// What must be so at any moment.
    fn look(&self, tally: &mut Tally) -> Found<()> {
        let Some(run) = &self.run else { return Ok(()) };
        let events = self.place.events(run)?;
        let tasks = truth::told(&events)?;
        truth::effects_agree(&truth::effects(&self.place)?, &tasks, &BTreeSet::new())?;
        // Who has a yes, until the question is put anew.
        let (mut yes, mut counts) = (BTreeSet::new(), BTreeMap::<(&str, String), u64>::new());
        let unasked = |event: &Value| Err(Violation::new(Kind::Unasked, format!("nobody said so: {event}")));
        for event in &events {
            let task = event["task"].as_str().unwrap_or_default().to_owned();
            match event["type"].as_str().unwrap_or_default() {
                "gate_opened" => _ = yes.remove(&task),
                "gate_approved" => {
                    yes.insert(task.clone());
                    *counts.entry(("approve", task)).or_default() += 1;
                }
                "gate_rejected" => *counts.entry(("reject", task)).or_default() += 1,
                "attempt_started" if task == "careful" && !yes.contains("careful") => return unasked(event),
                "attempt_started" if ["behind", "last"].contains(&task.as_str()) && !yes.contains("gate") => {
                    return unasked(event);
                }
                _ => {}
            }
        }
        // An answer that died on the way may have arrived or not; one that nobody gave cannot.
        match counts.iter().find(|((word, task), count)| **count > self.given(word, task)) {
            Some(answer) => Err(Violation::new(Kind::Unasked, format!("more answers than were given: {answer:?}"))),
            None => {
                tally.note("looks at a run with gates");
                Ok(())
            }
        }
    }

    fn given(&self, word: &str, task: &str) -> u64 {
        self.said.iter().filter(|((w, t), _)| *w == word && t == task).map(|(_, count)| count).sum()
    }

    fn look_back(&self, tally: &mut Tally) -> Found<()> {
        let Some(run) = &self.run else { return Err(Violation::broken("it has ended and was never there")) };
        let shown = self.place.show(run)?;
        let state = |task: &str| shown["tasks"][task]["state"].as_str().unwrap_or_default().to_owned();
        let passed = state("gate") == "completed";
        tally.note(if passed { "gates passed by a yes" } else { "gates closed by a no" });
        let ran = truth::effects(&self.place)?.iter().any(|effect| effect.task == "behind");
        if passed == self.rejects || ran != passed {
            return Err(Violation::new(Kind::Unasked, format!("gate {}, behind it ran: {ran}", state("gate"))));
        }
        if passed && (state("last") != "completed" || shown["outcome"] != "succeeded") {
            return Err(Violation::new(Kind::Lost, format!("it was let go on, and is {}", shown["outcome"])));
        }
        Ok(())
    }
}

/// The tasks about which somebody is asked.
fn waiting(shown: &Value) -> Vec<String> {
    let tasks = shown["tasks"].as_object().into_iter().flatten();
    tasks.filter(|(_, task)| task["state"] == "waiting").map(|(id, _)| id.clone()).collect()
}
