//! Who may start now: one list of gates, each able to say why it said no. It does not know what tasks do; it counts
//! live attempts by pool and looks at the pressure that is brought in.

use raddle_kernel::{Command, Pool, Run, TaskIx, Time};

use crate::attempt::Resources;
use crate::ledger::{Ledger, Verdict};

/// A cap and the setting that bound it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// At most so many at once.
    pub value: u32,
    /// The term that decided it.
    pub bound_by: String,
    /// What is counted, for sentences (`agent tasks`).
    pub of: &'static str,
}

/// Free memory and load as the world reports them; adaptive runs start less under pressure.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Bytes that new processes could have; `None` where unknown.
    pub available_bytes: Option<u64>,
    /// Share of the last ten seconds in which some task stalled for want of memory or processor, 0 to 1.
    pub stalled: f32,
}

impl Pressure {
    /// Below this much free memory an adaptive run starts nothing new beside what runs.
    const FLOOR_BYTES: u64 = 512 << 20;
    /// Above this share of stalling it starts nothing new either.
    const CEILING: f32 = 0.6;

    fn objection(&self) -> Option<String> {
        if let Some(free) = self.available_bytes.filter(|b| *b < Self::FLOOR_BYTES) {
            return Some(format!("only {} MB of memory are free (adaptive mode keeps 512)", free >> 20));
        }
        (self.stalled > Self::CEILING)
            .then(|| format!("tasks stalled {:.0} % of the last seconds (adaptive mode)", self.stalled * 100.0))
    }
}

/// What tasks declare to use, and how much of it may be used at once.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// By task; nothing for tasks beyond the end.
    pub by_task: Vec<Resources>,
    /// The limits; `pids` is not counted.
    pub limits: Resources,
}

impl Declared {
    /// Why a task may not start beside what runs; `None` when it may.
    pub fn shortage(&self, run: &Run, task: TaskIx) -> Option<String> {
        let of = |task: usize| self.by_task.get(task).copied().unwrap_or_default();
        let wanted = of(task.index());
        if wanted.memory_bytes.is_none() && wanted.cpu.is_none() {
            return None;
        }
        let running = |n: &usize| run.state(TaskIx(*n as u32)).phase().is_live();
        let (mut memory, mut cpu) = (0u64, 0.0);
        for used in (0..self.by_task.len()).filter(running).map(of) {
            memory = memory.saturating_add(used.memory_bytes.unwrap_or(0));
            cpu += used.cpu.unwrap_or(0.0);
        }
        let Resources { memory_bytes: memory_limit, cpu: cpu_limit, .. } = self.limits;
        if let (Some(limit), Some(wanted)) = (memory_limit, wanted.memory_bytes)
            && memory.saturating_add(wanted) > limit
        {
            let [memory, limit] = [memory, limit].map(|bytes| bytes >> 20);
            return Some(format!("running tasks have declared {memory} of {limit} MB (resource_limits.memory)"));
        }
        if let (Some(limit), Some(wanted)) = (cpu_limit, wanted.cpu)
            && cpu + wanted > limit + 1e-9
        {
            return Some(format!("running tasks have declared {cpu} of {limit} processors (resource_limits.cpu)"));
        }
        None
    }
}

/// The gates of one run.
#[derive(Debug, Clone)]
pub struct Admission {
    caps: Vec<Cap>,
    /// Caps over some tasks of any pool, beside those of their pools.
    also: Vec<Also>,
    declared: Declared,
    /// By task: numbers of files that no two tasks write at once.
    written: Vec<Vec<u32>>,
    pressure: Option<Pressure>,
    ledger: Ledger,
    /// Set when `stop` was asked: nothing starts any more.
    closed: bool,
}

impl Admission {
    /// One cap per pool of the graph, in the order of the pools. `adaptive` asks for the pressure gate.
    pub fn new(caps: Vec<Cap>, adaptive: bool) -> Self {
        let pressure = adaptive.then(Pressure::default);
        let ledger = Ledger::default();
        let declared = Declared::default();
        Admission { caps, also: Vec::new(), declared, written: Vec::new(), pressure, ledger, closed: false }
    }

    /// Counts what tasks declare against limits. Every single task must fit, or it never starts.
    pub fn declare(&mut self, declared: Declared) {
        self.declared = declared;
    }

    /// Tasks that have a number in common never run at once; by task, nothing for tasks beyond the end.
    pub fn keep_apart(&mut self, written: Vec<Vec<u32>>) {
        self.written = written;
    }

    /// A live task that writes what this one would write.
    pub fn writer_beside(&self, run: &Run, task: TaskIx) -> Option<TaskIx> {
        let own = self.written.get(task.index()).filter(|files| !files.is_empty())?;
        let meets = |other: &TaskIx| {
            let others = self.written.get(other.index()).into_iter().flatten();
            *other != task && others.into_iter().any(|file| own.contains(file))
        };
        run.outstanding().map(|(Command::Run { task, .. } | Command::Stop { task, .. })| task).find(meets)
    }

    /// Counts these tasks together as well, whatever their pools.
    pub fn also(mut self, cap: Cap, tasks: impl IntoIterator<Item = TaskIx>) -> Self {
        let mut counts = Vec::new();
        for task in tasks {
            if counts.len() <= task.index() {
                counts.resize(task.index() + 1, false);
            }
            counts[task.index()] = true;
        }
        self.also.push(Also { cap, counts });
        self
    }

    /// With a budget, as it stands after the records so far; a chapter that is about to begin is in it already.
    #[must_use]
    pub fn with_budget(self, ledger: Ledger) -> Self {
        Admission { ledger, ..self }
    }

    /// The gates of a changed definition take the place of these; what was spent, felt and closed stays.
    pub(crate) fn redefine(&mut self, Admission { caps, also, declared, written, .. }: Admission) {
        (self.caps, self.also, self.declared, self.written) = (caps, also, declared, written);
    }

    /// The budget.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The budget, for whoever decides new records.
    pub(crate) fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Lets nothing start any more.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Whether the pressure should be measured from time to time.
    pub fn wants_pressure(&self) -> bool {
        self.pressure.is_some()
    }

    /// A new measurement.
    pub fn feel(&mut self, pressure: Pressure) {
        if let Some(p) = &mut self.pressure {
            *p = pressure;
        }
    }

    /// Why nothing of the pool may start now; `None` when it may.
    pub fn objection(&self, run: &Run, pool: Pool) -> Option<String> {
        if self.closed {
            return Some("the run is being stopped".into());
        }
        let live = run.live_in(pool);
        if let Some(cap) = self.caps.get(usize::from(pool.0)).filter(|c| live >= c.value) {
            return Some(format!("{live} of at most {} {} are running ({})", cap.value, cap.of, cap.bound_by));
        }
        // Something always runs, or pressure from outside could stop a run for ever.
        if run.live() > 0 {
            return self.pressure.as_ref().and_then(Pressure::objection);
        }
        None
    }

    /// Room in a pool by its cap alone; the cheap question of the loop.
    fn room(&self, run: &Run, pool: Pool) -> u32 {
        let cap = self.caps.get(usize::from(pool.0)).map_or(u32::MAX, |c| c.value);
        cap.saturating_sub(run.live_in(pool))
    }

    fn declares(&self, task: TaskIx) -> bool {
        self.declared.by_task.get(task.index()).is_some_and(|r| r.memory_bytes.is_some() || r.cpu.is_some())
    }

    /// The next task that every gate lets start.
    pub fn next(&self, run: &Run, now: Time) -> Option<TaskIx> {
        if self.closed {
            return None;
        }
        if run.owed_undoing() > 0
            && let Some(task) = self.next_to_undo(run)
        {
            return Some(task);
        }
        if self.is_used_up(run, now) {
            return None;
        }
        heads(run).find_map(|(pool, mut rank, mut task)| {
            if self.room(run, pool) == 0 || (self.pressure.is_some() && self.objection(run, pool).is_some()) {
                return None;
            }
            // Those that must wait for their own cap do not hold up the others of their pool. Whoever does not fit into
            // what is declared does: others that declare something wait behind it, or it would wait for ever.
            let full_groups: Vec<&Also> = self.also.iter().filter(|also| also.live(run) >= also.cap.value).collect();
            let mut full = false;
            loop {
                let capped = full_groups.iter().any(|also| also.counts(task));
                let short = full && self.declares(task) || self.declared.shortage(run, task).is_some();
                // Compensations have been asked for by now.
                let capped = capped || run.undoes(task) || self.writer_beside(run, task).is_some();
                if !capped && !short {
                    let fits = !self.ledger.is_limited() || self.ledger.verdict(task, now) == Verdict::Fits;
                    return fits.then_some(task);
                }
                full |= short;
                (rank, task) = run.next_ready(pool, rank + 1)?;
            }
        })
    }

    /// A compensation whose turn it is: it goes before all else, and neither money nor pressure holds it up.
    fn next_to_undo(&self, run: &Run) -> Option<TaskIx> {
        let pools = (0..run.graph().pools() as u8).map(Pool).filter(|pool| self.room(run, *pool) > 0);
        pools
            .flat_map(|pool| in_order(run, pool))
            .filter(|task| run.undoes(*task) && self.writer_beside(run, *task).is_none())
            .find(|task| run.live() == 0 || self.declared.shortage(run, *task).is_none())
    }

    /// Whether the budget is used up: somebody's turn has come who can never be paid for, so nothing new starts, not
    /// even what costs nothing.
    pub fn is_used_up(&self, run: &Run, now: Time) -> bool {
        let never = |task| !run.undoes(task) && matches!(self.ledger.verdict(task, now), Verdict::Never(_));
        self.ledger.is_limited() && heads(run).any(|(_, _, task)| never(task))
    }
}

/// The first task of each pool that may start. A pool's tasks start in its order: one that is cheap does not pass one
/// that waits for money.
fn heads(run: &Run) -> impl Iterator<Item = (Pool, u32, TaskIx)> + '_ {
    (0..run.graph().pools() as u8).map(Pool).filter_map(|pool| {
        let (rank, task) = run.next_ready(pool, 0)?;
        Some((pool, rank, task))
    })
}

/// The tasks of a pool that may start.
fn in_order(run: &Run, pool: Pool) -> impl Iterator<Item = TaskIx> + '_ {
    let first = run.next_ready(pool, 0);
    std::iter::successors(first, move |(rank, _)| run.next_ready(pool, rank + 1)).map(|(_, task)| task)
}

/// See [`Admission::also`].
#[derive(Debug, Clone)]
struct Also {
    cap: Cap,
    counts: Vec<bool>,
}

impl Also {
    fn counts(&self, task: TaskIx) -> bool {
        self.counts.get(task.index()).is_some_and(|counts| *counts)
    }

    fn live(&self, run: &Run) -> u32 {
        let live = run.outstanding().filter(|owed| match owed {
            Command::Run { task, .. } | Command::Stop { task, .. } => self.counts(*task),
        });
        u32::try_from(live.count()).unwrap_or(u32::MAX)
    }
}
