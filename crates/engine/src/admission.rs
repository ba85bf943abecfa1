//! Who may start now: one list of gates, each able to say why it said no. It does not know what tasks do; it counts
//! live attempts by pool and looks at the pressure that is brought in.

use raddle_kernel::{Pool, Run, TaskIx};

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
    pressure: Option<Pressure>,
    /// Set when `stop` was asked: nothing starts any more.
    closed: bool,
}

impl Admission {
    /// One cap per pool of the graph, in the order of the pools. `adaptive` asks for the pressure gate.
    pub fn new(caps: Vec<Cap>, adaptive: bool) -> Self {
        Admission { caps, pressure: adaptive.then(Pressure::default), closed: false }
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

    /// The next task that every gate lets start.
    pub fn next(&self, run: &Run) -> Option<TaskIx> {
        if self.closed {
            return None;
        }
        (0..run.graph().pools() as u8).map(Pool).find_map(|pool| {
            let (_, task) = run.next_ready(pool, 0)?;
            if self.room(run, pool) == 0 || (self.pressure.is_some() && self.objection(run, pool).is_some()) {
                return None;
            }
            Some(task)
        })
    }
}
