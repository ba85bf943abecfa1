//! Who may start now: one list of gates, each able to say why it said no. It does not know what tasks do; it counts
//! live attempts by pool and looks at the pressure that is brought in.

use raddle_kernel::{Command, Pool, Run, TaskIx};

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

/// The gates of one run.
#[derive(Debug, Clone)]
pub struct Admission {
    caps: Vec<Cap>,
    /// A cap over some tasks of any pool, beside that of their pool.
    also: Option<Also>,
    pressure: Option<Pressure>,
    /// Set when `stop` was asked: nothing starts any more.
    closed: bool,
}

impl Admission {
    /// One cap per pool of the graph, in the order of the pools. `adaptive` asks for the pressure gate.
    pub fn new(caps: Vec<Cap>, adaptive: bool) -> Self {
        Admission { caps, also: None, pressure: adaptive.then(Pressure::default), closed: false }
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
        self.also = Some(Also { cap, counts });
        self
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

    /// Why this task may not start now although others of its pool might; `None` when it may.
    pub fn objection_to(&self, run: &Run, task: TaskIx) -> Option<String> {
        let also = self.also.as_ref().filter(|also| also.counts(task) && also.live(run) >= also.cap.value)?;
        let Cap { value, of, bound_by } = &also.cap;
        Some(format!("{} of at most {value} {of} are running ({bound_by})", also.live(run)))
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

    /// The next task that every gate lets start.
    pub fn next(&self, run: &Run) -> Option<TaskIx> {
        if self.closed {
            return None;
        }
        (0..run.graph().pools() as u8).map(Pool).find_map(|pool| {
            let (mut rank, mut task) = run.next_ready(pool, 0)?;
            if self.room(run, pool) == 0 || (self.pressure.is_some() && self.objection(run, pool).is_some()) {
                return None;
            }
            // Those that must wait for their own cap do not hold up the others of their pool.
            if let Some(also) = self.also.as_ref().filter(|also| also.counts(task) && also.live(run) >= also.cap.value)
            {
                while also.counts(task) {
                    (rank, task) = run.next_ready(pool, rank + 1)?;
                }
            }
            Some(task)
        })
    }
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
