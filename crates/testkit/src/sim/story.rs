//! What a simulated run is about: a random graph with everything the kernel can be told of tasks, and what each attempt
//! will do. All of it follows from the seed. It does not know the engine, nor when anything happens.

use std::sync::Arc;

use raddle_engine::admission::{Admission, Cap};
use raddle_engine::attempt::Usage;
use raddle_engine::snapshot::{RunOptions, Snapshot, TaskRecord};
use raddle_kernel::{
    Attempt, FailureClass, Gate, Graph, GraphBuilder, OnDoubt, Pool, RetryPolicy, Strength, TaskIx, TaskSpec,
};

use super::means::{self, Means};
use raddle_sim::chance::{Chance, chance_of};

/// Whether another attempt of that task would fail in the same way: every second task's program is not there at all
/// when it cannot be started.
pub(crate) fn lasts(task: TaskIx, class: FailureClass) -> bool {
    class == FailureClass::Start && task.0.is_multiple_of(2)
}

/// A task as the story tells it.
#[derive(Debug, Clone)]
pub struct Plot {
    /// Whom it waits for.
    pub depends_on: Vec<(TaskIx, Strength)>,
    /// What the kernel is told.
    pub spec: TaskSpec,
    /// Its retries.
    pub retry: RetryPolicy,
    /// Wall-clock limit of an attempt in milliseconds.
    pub timeout_ms: u64,
    /// What its condition will say when its turn comes, where it has one.
    pub condition: Option<bool>,
    /// What people have to do with it.
    pub asks: Asks,
}

/// What people have to do with a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    /// Whether they are asked before.
    pub gate: Gate,
    /// How long in milliseconds.
    pub expires_ms: Option<u64>,
    /// Whether they decide about its last failure.
    pub escalates: bool,
}

impl Asks {
    /// Of a task of a seed; most stories ask nobody.
    fn of(seed: u64, task: usize) -> Asks {
        if !chance_of(&[seed, 5]).one_in(3) {
            return Asks::default();
        }
        let mut chance = chance_of(&[seed, 6, task as u64]);
        Asks {
            gate: chance.pick(&[Gate::None, Gate::None, Gate::Decides, Gate::Precedes]),
            expires_ms: chance.one_in(3).then(|| 1 + chance.below(1200)),
            escalates: chance.one_in(4),
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Story {
    /// Where it all follows from.
    pub seed: u64,
    /// The tasks.
    pub tasks: Vec<Plot>,
    /// Whether levels wait for each other.
    pub waves: bool,
    /// Caps by pool.
    pub caps: Vec<u32>,
    /// Whether pressure is felt.
    pub adaptive: bool,
    /// Longest distances from a root.
    pub levels: Vec<u32>,
    /// Weight of the heaviest way from each task to an end, its own included.
    pub ways_ahead: Vec<u64>,
    /// No crashes, no second engine, nobody interferes: the end can be foretold.
    pub calm: bool,
    /// What it may spend, where it knows money; then nobody can foretell the end.
    pub means: Option<Means>,
}

/// How an attempt goes when nobody disturbs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It ends well; a big output does not fit into a record.
    Succeed {
        /// Beyond what is kept inline.
        big: bool,
    },
    /// It fails.
    Fail(FailureClass),
    /// It does nothing until it is stopped.
    Hang,
    /// Its inputs cannot be made.
    Unpreparable,
    /// Its output is refused.
    Unreadable,
}

/// An attempt's script.
#[derive(Debug, Clone, Copy)]
pub struct Act {
    /// What comes of it.
    pub deed: Deed,
    /// How long it takes, far below every timeout.
    pub takes_ms: u64,
    /// How long it takes to end when it is stopped.
    pub stop_takes_ms: u64,
    /// Its end is reported once more after so long.
    pub doubled_after_ms: Option<u64>,
    /// It shows a line on its way.
    pub progresses: bool,
    /// Something is refused to it on its way.
    pub is_denied: bool,
}

impl Deed {
    /// Why the attempt fails, if it does.
    pub fn failure(self) -> Option<FailureClass> {
        match self {
            Deed::Succeed { .. } => None,
            Deed::Fail(class) => Some(class),
            Deed::Hang => Some(FailureClass::Timeout),
            Deed::Unpreparable => Some(FailureClass::Input),
            Deed::Unreadable => Some(FailureClass::Output),
        }
    }
}

impl Story {
    /// The story of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = chance_of(&[seed, 1]);
        let size = match chance.below(20) {
            0 => 25 + chance.below(36),
            1..=5 => 10 + chance.below(12),
            _ => 1 + chance.below(9),
        };
        let pools = 1 + chance.below(3);
        let density = 2 + chance.below(8);
        let policies: Vec<RetryPolicy> = (0..3).map(|_| policy(&mut chance)).collect();
        // Edges go forward in a hidden order, so that numbers say nothing about who waits for whom.
        let mut order: Vec<u32> = (0..size as u32).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, chance.below(i as u64 + 1) as usize);
        }
        let mut tasks: Vec<Plot> = (0..size).map(|_| plot(&mut chance, pools, &policies)).collect();
        for later in 1..order.len() {
            for earlier in later.saturating_sub(8)..later {
                if chance.one_in(density) {
                    let strength = if chance.one_in(3) { Strength::Soft } else { Strength::Hard };
                    tasks[order[later] as usize].depends_on.push((TaskIx(order[earlier]), strength));
                }
            }
        }
        for (n, task) in tasks.iter_mut().enumerate() {
            task.asks = Asks::of(seed, n);
        }
        let mut story = Story {
            seed,
            levels: vec![0; tasks.len()],
            means: Means::of(seed, tasks.len()),
            ways_ahead: vec![0; tasks.len()],
            tasks,
            waves: chance.one_in(3),
            caps: (0..pools).map(|_| 1 + chance.below(4) as u32).collect(),
            adaptive: chance.one_in(5),
            calm: chance.one_in(4),
        };
        let mut chance = chance_of(&[seed, 9]);
        for plot in &mut story.tasks {
            plot.condition = chance.one_in(8).then(|| chance.one_in(2));
        }
        story.find_levels();
        story
    }

    /// A story of just these tasks, for one that asks no attempt what it does.
    pub fn told(tasks: Vec<Plot>, waves: bool) -> Self {
        let (n, caps) = (tasks.len(), vec![u32::MAX]);
        let (levels, ways_ahead) = (vec![0; n], vec![0; n]);
        let mut story =
            Story { seed: 0, tasks, levels, ways_ahead, waves, caps, adaptive: false, calm: true, means: None };
        story.find_levels();
        story
    }

    /// Levels and ways ahead the slow way: again and again until nobody moves.
    pub(super) fn find_levels(&mut self) {
        loop {
            let before = (self.levels.clone(), self.ways_ahead.clone());
            for task in self.all() {
                let plot = &self.tasks[task.index()];
                let above = plot.depends_on.iter().map(|d| self.levels[d.0.index()] + 1).max();
                self.levels[task.index()] = above.unwrap_or(0);
                let own = &mut self.ways_ahead[task.index()];
                *own = (*own).max(u64::from(plot.spec.weight));
                let own = *own;
                for (dependency, _) in &plot.depends_on {
                    let way = &mut self.ways_ahead[dependency.index()];
                    *way = (*way).max(own + u64::from(self.tasks[dependency.index()].spec.weight));
                }
            }
            if (&self.levels, &self.ways_ahead) == (&before.0, &before.1) {
                return;
            }
        }
    }

    /// Weight of the heaviest way from the task to an end.
    pub fn way_ahead(&self, task: TaskIx) -> u64 {
        self.ways_ahead[task.index()]
    }

    /// Longest distance of the task from a root.
    pub fn level(&self, task: TaskIx) -> u32 {
        self.levels[task.index()]
    }

    /// Whether people have to do with it at all.
    pub fn asks(&self) -> bool {
        self.tasks.iter().any(|task| task.asks != Asks::default())
    }

    /// The task.
    pub fn task(&self, task: TaskIx) -> &Plot {
        &self.tasks[task.index()]
    }

    /// All tasks' numbers.
    pub fn all(&self) -> impl Iterator<Item = TaskIx> + use<> {
        (0..self.tasks.len() as u32).map(TaskIx)
    }

    /// What the attempt does. It follows from the task and the attempt alone.
    pub fn act(&self, task: TaskIx, attempt: Attempt) -> Act {
        let mut chance = chance_of(&[self.seed, 2, u64::from(task.0), u64::from(attempt.0)]);
        let deed = match chance.below(100) {
            0..66 => Deed::Succeed { big: chance.one_in(40) },
            66..90 => Deed::Fail(chance.pick(&FailureClass::ALL)),
            90..95 => Deed::Hang,
            95..97 => Deed::Unpreparable,
            _ => Deed::Unreadable,
        };
        Act {
            deed,
            takes_ms: if chance.one_in(4) { 0 } else { chance.below(100) },
            stop_takes_ms: if chance.one_in(3) { 5000 + chance.below(300) } else { chance.below(50) },
            doubled_after_ms: chance.one_in(5).then(|| chance.below(400)),
            progresses: chance.one_in(6),
            is_denied: chance.one_in(12),
        }
    }

    /// What the attempt reports of what it used.
    pub fn usage(&self, task: TaskIx, attempt: Attempt) -> Option<Usage> {
        self.means.as_ref().and_then(|_| means::usage(self.seed, task, attempt))
    }

    /// The output of an attempt that succeeds: no two are equal.
    pub fn output(&self, task: TaskIx, attempt: Attempt) -> String {
        if self.task(task).asks.gate == Gate::Decides {
            return format!("{{\"gate\":{}}}", task.0);
        }
        let big = matches!(self.act(task, attempt).deed, Deed::Succeed { big: true });
        let filler = if big { "x".repeat(5000) } else { String::new() };
        format!("{{\"task\":{},\"attempt\":{},\"filler\":\"{filler}\"}}", task.0, attempt.0)
    }

    /// The kernel's graph of it.
    pub fn graph(&self) -> Arc<Graph> {
        let mut builder = GraphBuilder::with_capacity(self.tasks.len(), 0);
        builder.waves(self.waves);
        for plot in &self.tasks {
            let retry = builder.policy(plot.retry);
            let task = builder.task(TaskSpec { retry, ..plot.spec });
            builder.gate(task, plot.asks.gate);
            if plot.asks.escalates {
                builder.escalate(task);
            }
        }
        for (to, plot) in (0..).zip(&self.tasks) {
            plot.depends_on.iter().for_each(|(from, strength)| builder.edge(*from, TaskIx(to), *strength));
        }
        Arc::new(builder.build().expect("edges that go forward make no cycle"))
    }

    /// The gates.
    pub fn admission(&self) -> Admission {
        let cap = |value: &u32| Cap { value: *value, bound_by: "the story".into(), of: "tasks" };
        Admission::new(self.caps.iter().map(cap).collect(), self.adaptive)
    }

    /// What is written down with the run, for its readers.
    pub fn snapshot(&self) -> Snapshot {
        let of = |plot: &Plot, wanted| plot.depends_on.iter().filter(|d| d.1 == wanted).map(|d| d.0.0).collect();
        let record = |(i, plot): (usize, &Plot)| {
            let mut record = TaskRecord {
                id: format!("t{i}"),
                kind: "shell".into(),
                hard: of(plot, Strength::Hard),
                soft: of(plot, Strength::Soft),
                safe_to_fail: plot.spec.safe_to_fail,
                gate: plot.asks.gate.into(),
                escalates: plot.asks.escalates,
                ..TaskRecord::default()
            };
            self.means.iter().for_each(|means| means.tell_of(i, &mut record));
            record
        };
        Snapshot {
            caps: Vec::new(),
            options: RunOptions::default(),
            waves: self.waves,
            budget: self.means.as_ref().map(|means| means.budget).unwrap_or_default(),
            tasks: self.tasks.iter().enumerate().map(record).collect(),
            ..Snapshot::default()
        }
    }
}

fn policy(chance: &mut Chance) -> RetryPolicy {
    let every = RetryPolicy::every_class();
    RetryPolicy {
        max: chance.below(4) as u16,
        rounds: if chance.one_in(4) { 2 } else { 1 },
        initial_ms: chance.pick(&[0, 10, 1000]),
        factor_milli: chance.pick(&[1000, 2000, 3500]),
        max_delay_ms: chance.pick(&[15, 3000, 30_000]),
        jitter_milli: chance.pick(&[0, 200, 1000]),
        classes: if chance.one_in(4) { chance.next() as u32 & every } else { every },
    }
}

fn plot(chance: &mut Chance, pools: u64, policies: &[RetryPolicy]) -> Plot {
    Plot {
        depends_on: Vec::new(),
        condition: None,
        retry: chance.pick(policies),
        asks: Asks::default(),
        timeout_ms: 400 + chance.below(2000),
        spec: TaskSpec {
            priority: chance.below(4) as i32 - 1,
            weight: chance.below(9) as u32,
            pool: Pool(chance.below(pools) as u8),
            safe_to_fail: chance.one_in(4),
            side_effects: chance.one_in(2),
            on_doubt: chance.pick(&[OnDoubt::Ask, OnDoubt::Rerun, OnDoubt::Fail]),
            retry: 0,
        },
    }
}
