//! A run as far as a display needs it: counts, sums, running tasks with their last line. It does not know
//! terminals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::event::{Ending, Happening, Scene};
use crate::terminal::{grouped, harmless, money};

/// At most so much of a line is kept.
const LINE: usize = 200;

/// A task that runs now.
#[derive(Debug)]
pub(super) struct Running {
    /// When this attempt began, for this display.
    pub since: Instant,
    /// Its last line, harmless.
    pub line: String,
}

/// The sums.
#[derive(Debug)]
pub(super) struct Tally {
    /// What was known before.
    pub scene: Scene,
    /// By index.
    pub running: BTreeMap<u32, Running>,
    /// Tasks that are not in the run any more.
    gone: usize,
    counts: [usize; Ending::ALL.len()],
    /// Tasks that wait for a person now.
    waiting: BTreeSet<u32>,
    tokens: u64,
    cost_usd: f64,
    cost_unknown: bool,
    budget: String,
}

impl Tally {
    pub(super) fn new(scene: Scene) -> Self {
        Tally {
            scene,
            running: BTreeMap::new(),
            gone: 0,
            counts: [0; Ending::ALL.len()],
            waiting: BTreeSet::new(),
            tokens: 0,
            cost_usd: 0.0,
            cost_unknown: false,
            budget: String::new(),
        }
    }

    /// A task's id; indexes out of range are shown as such rather than trusted.
    pub(super) fn id(&self, ix: u32) -> &str {
        self.scene.tasks.get(ix as usize).map_or("?", |id| id)
    }

    pub(super) fn take(&mut self, event: &Happening<'_>) {
        if let Happening::Started { ix, .. } | Happening::Settled { ix, .. } = *event
            && self.waiting.remove(&ix)
        {
            self.counts[Ending::Waiting as usize] -= 1;
        }
        match *event {
            Happening::Started { ix, .. } => {
                self.running.insert(ix, Running { since: Instant::now(), line: String::new() });
            }
            Happening::Undoing { ix, was_done } => {
                self.running.insert(ix, Running { since: Instant::now(), line: "being undone".to_owned() });
                let done = &mut self.counts[Ending::Completed as usize];
                *done = done.saturating_sub(usize::from(was_done));
            }
            Happening::Retrying { ix, .. } => {
                self.running.remove(&ix);
            }
            Happening::Settled { ix, ending, .. } => {
                self.running.remove(&ix);
                self.counts[ending as usize] += 1;
                if ending == Ending::Waiting {
                    self.waiting.insert(ix);
                }
            }
            Happening::Progress { ix, line } => {
                if let Some(running) = self.running.get_mut(&ix) {
                    running.line = first_line(line);
                }
            }
            Happening::Tasks { ids, gone, .. } => {
                self.scene.tasks = ids.to_vec();
                self.gone = gone;
            }
            Happening::Budget { words } => words.clone_into(&mut self.budget),
            Happening::Used { tokens, cost_usd } => {
                self.tokens += tokens;
                match cost_usd {
                    Some(cost) => self.cost_usd += cost,
                    None => self.cost_unknown = true,
                }
            }
            Happening::Asked { .. } | Happening::Storage { .. } | Happening::Finished => {}
        }
    }

    /// `3 running · 5 done · 1 failed · 11 to go`.
    pub(super) fn counts(&self) -> String {
        let settled: usize = self.counts.iter().sum();
        let mut parts = Vec::new();
        if !self.running.is_empty() {
            parts.push(format!("{} running", self.running.len()));
        }
        for (ending, &n) in Ending::ALL.iter().zip(&self.counts).filter(|(_, n)| **n > 0) {
            parts.push(format!("{n} {}", ending.word()));
        }
        let open = self.scene.tasks.len().saturating_sub(self.gone + settled + self.running.len());
        if open > 0 {
            parts.push(format!("{open} to go"));
        }
        parts.join(" · ")
    }

    /// `12,345 tokens, $0.0283`; empty when nothing was metered.
    pub(super) fn spent(&self) -> String {
        if !self.budget.is_empty() {
            return format!("budget: {}", self.budget);
        }
        if self.tokens == 0 && self.cost_usd == 0.0 {
            return String::new();
        }
        let cost = match (self.cost_usd, self.cost_unknown) {
            (0.0, true) => "cost unknown".to_owned(),
            (cost, true) => format!("{} and some unknown", money(cost)),
            (cost, false) => money(cost),
        };
        format!("{} tokens, {cost}", grouped(self.tokens))
    }
}

/// The first line that says something, harmless and bounded.
pub(super) fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("").trim();
    let end = line.char_indices().nth(LINE).map_or(line.len(), |(at, _)| at);
    harmless(&line[..end]).into_owned()
}
