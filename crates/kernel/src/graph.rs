//! The graph of a run as dense arrays: who hangs on whom, in which order ready tasks come, what each is allowed. It
//! does not know ids, names or what tasks do. Levels are longest distances from a root (Kahn's algorithm, 1962); the
//! order is priority, then remaining critical path, then index.

mod sagas;

use alloc::vec;
use alloc::vec::Vec;

use sagas::{SagaBuilder, Sagas};

use crate::{FailureClass, TaskIx};

/// Hard edges block on failure, soft ones only wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "see the enum")]
pub enum Strength {
    Hard,
    Soft,
}

/// A group of tasks that share a cap; a small number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pool(pub u8);

/// What becomes of an effectful attempt of unknown fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum OnDoubt {
    Rerun,
    Ask,
    Fail,
    Compensate,
}

/// Whether a person is asked about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gate {
    /// Nobody.
    #[default]
    None,
    /// The answer is the task: a yes completes it.
    Decides,
    /// A yes lets its attempts start.
    Precedes,
}

/// Extra executions after failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many, in each round.
    pub max: u16,
    /// Rounds of attempts; whoever performs them does it otherwise in a later one. At least 1.
    pub rounds: u16,
    /// First delay in milliseconds.
    pub initial_ms: u32,
    /// Growth per retry, in thousandths.
    pub factor_milli: u32,
    /// Upper bound of a delay in milliseconds.
    pub max_delay_ms: u32,
    /// Share of a delay that is random, in thousandths.
    pub jitter_milli: u16,
    /// Bit `1 << class` for each class that is retried.
    pub classes: u32,
}

impl RetryPolicy {
    /// No retries.
    pub const NONE: RetryPolicy = RetryPolicy {
        max: 0,
        rounds: 1,
        initial_ms: 1000,
        factor_milli: 2000,
        max_delay_ms: 30_000,
        jitter_milli: 0,
        classes: 0,
    };

    /// The classes that may be retried when nothing narrower is said.
    pub fn every_class() -> u32 {
        FailureClass::ALL.iter().filter(|c| c.retryable()).fold(0, |mask, c| mask | 1 << *c as u8)
    }

    /// The round to which the attempt after so many failures belongs, from 0.
    pub fn round(&self, failures: u32) -> u32 {
        failures / (u32::from(self.max) + 1)
    }

    /// Which retry follows another failure after so many, counted within its round from 1; the first attempt of a later
    /// round waits like a first retry. `None` when all rounds are used up.
    pub(crate) fn next(&self, failures: u32) -> Option<u16> {
        let next = failures + 1;
        let within = next % (u32::from(self.max) + 1);
        (self.round(next) < u32::from(self.rounds)).then_some(within.max(1) as u16)
    }

    /// Delay before retry number `retry` (from 1): `initial x factor^(retry-1)`, capped, then spread by `noise` over
    /// the share that is random: a delay is never longer than the cap and never shorter than cap x (1 - jitter).
    pub fn delay_ms(&self, retry: u16, noise: u32) -> u64 {
        let mut delay = u64::from(self.initial_ms);
        for _ in 1..retry {
            delay = delay.saturating_mul(u64::from(self.factor_milli)) / 1000;
            if delay >= u64::from(self.max_delay_ms) {
                break;
            }
        }
        let delay = delay.min(u64::from(self.max_delay_ms));
        let spread = delay * u64::from(self.jitter_milli.min(1000)) / 1000;
        delay - spread * u64::from(noise) / u64::from(u32::MAX)
    }
}

/// What the kernel has to know of a task.
#[derive(Debug, Clone, Copy)]
pub struct TaskSpec {
    /// Higher first.
    pub priority: i32,
    /// Expected duration in any unit; decides the critical path.
    pub weight: u32,
    /// Whose cap it counts against.
    pub pool: Pool,
    /// Failure is a value.
    pub safe_to_fail: bool,
    /// A repeat could be noticed outside.
    pub side_effects: bool,
    /// See [`OnDoubt`].
    pub on_doubt: OnDoubt,
    /// Index of its policy, as [`GraphBuilder::policy`] returned it.
    pub retry: u16,
}

/// Collects tasks and edges.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    specs: Vec<TaskSpec>,
    edges: Vec<(u32, u32)>,
    policies: Vec<RetryPolicy>,
    /// What few tasks have beside their specs: bits of [`Vertex::flags`].
    marks: Vec<(TaskIx, u8)>,
    superseded: Vec<u32>,
    waves: bool,
    sagas: SagaBuilder,
}

/// Why a graph cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphError {
    /// An edge names a task that does not exist.
    UnknownTask,
    /// Some tasks depend on themselves.
    Cycle,
    /// More than 2^31 tasks.
    TooLarge,
}

const SOFT: u32 = 1 << 31;
const SAFE: u8 = 1;
const EFFECTS: u8 = 2;
const DOUBT_SHIFT: u8 = 2;
const DOUBT: u8 = 3 << DOUBT_SHIFT;
const SUPERSEDED: u8 = 1 << 4;
const DECIDES: u8 = 1 << 5;
const PRECEDES: u8 = 1 << 6;
const ESCALATES: u8 = 1 << 7;

/// The finished graph; immutable.
#[derive(Debug)]
pub struct Graph {
    successors: Rows,
    predecessors: Rows,
    vertices: Vec<Vertex>,
    by_level: Option<Rows>,
    levels: u32,
    order: Rows,
    policies: Vec<RetryPolicy>,
    pub(crate) sagas: Sagas,
}

/// What is looked at together lies together: one cache line serves five tasks.
#[derive(Debug, Clone, Copy)]
struct Vertex {
    rank: u32,
    level: u32,
    retry: u16,
    pool: Pool,
    flags: u8,
}

/// Lists of numbers, one per row, in two flat arrays.
#[derive(Debug)]
struct Rows {
    offset: Vec<u32>,
    items: Vec<u32>,
}

impl Rows {
    /// Groups `pairs` by their first number, keeping their order.
    fn group(rows: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut offset = vec![0u32; rows + 1];
        for (row, _) in pairs.clone() {
            offset[row as usize + 1] += 1;
        }
        for i in 0..rows {
            offset[i + 1] += offset[i];
        }
        let mut items = vec![0u32; offset[rows] as usize];
        // The offsets serve as cursors and are shifted back by one row afterwards.
        for (row, item) in pairs {
            let cursor = &mut offset[row as usize];
            items[*cursor as usize] = item;
            *cursor += 1;
        }
        offset.copy_within(0..rows, 1);
        offset[0] = 0;
        Rows { offset, items }
    }

    fn row(&self, i: usize) -> &[u32] {
        &self.items[self.offset[i] as usize..self.offset[i + 1] as usize]
    }
}

impl GraphBuilder {
    /// An empty builder with room.
    pub fn with_capacity(tasks: usize, edges: usize) -> Self {
        GraphBuilder {
            specs: Vec::with_capacity(tasks),
            edges: Vec::with_capacity(edges),
            policies: Vec::new(),
            marks: Vec::new(),
            superseded: Vec::new(),
            waves: false,
            sagas: SagaBuilder::default(),
        }
    }

    /// Puts the task into a scope, from 1: when a member fails, what the other members did is undone.
    pub fn scope(&mut self, task: TaskIx, scope: u32) {
        self.sagas.scopes.push((task.0, scope));
    }

    /// What the task did can be undone. `retry` is the policy of its compensation, as [`GraphBuilder::policy`] returned
    /// it.
    pub fn undo(&mut self, task: TaskIx, retry: u16) {
        self.sagas.undo.push((task.0, retry));
    }

    /// Whether a level waits for the whole level before it.
    pub fn waves(&mut self, on: bool) {
        self.waves = on;
    }

    /// The index of a policy; equal policies share one.
    pub fn policy(&mut self, policy: RetryPolicy) -> u16 {
        let found = self.policies.iter().rposition(|p| *p == policy);
        let at = found.unwrap_or_else(|| {
            self.policies.push(policy);
            self.policies.len() - 1
        });
        // More than 65 535 different policies: the last one is shared rather than a wrong one used.
        at.min(usize::from(u16::MAX)) as u16
    }

    /// Adds a task; tasks are numbered in the order they come.
    pub fn task(&mut self, spec: TaskSpec) -> TaskIx {
        self.specs.push(spec);
        TaskIx(self.specs.len() as u32 - 1)
    }

    /// A person is asked about the task.
    pub fn gate(&mut self, task: TaskIx, gate: Gate) {
        match gate {
            Gate::None => {}
            Gate::Decides => self.marks.push((task, DECIDES)),
            Gate::Precedes => self.marks.push((task, PRECEDES)),
        }
    }

    /// A person decides what becomes of the task's last failure.
    pub fn escalate(&mut self, task: TaskIx) {
        self.marks.push((task, ESCALATES));
    }

    /// Adds an edge; each pair at most once.
    pub fn edge(&mut self, from: TaskIx, to: TaskIx, strength: Strength) {
        self.edges.push((from.0, to.0 | if strength == Strength::Soft { SOFT } else { 0 }));
    }

    /// Another task stands for this one: the run does not need it any more.
    pub fn supersede(&mut self, task: TaskIx) {
        self.superseded.push(task.0);
    }

    /// Checks and freezes. O(tasks log tasks + edges).
    pub fn build(self) -> Result<Graph, GraphError> {
        let GraphBuilder { specs, edges, mut policies, marks, superseded, waves, sagas } = self;
        let n = specs.len();
        if n >= SOFT as usize {
            return Err(GraphError::TooLarge);
        }
        let is_unknown = |task: u32| task as usize >= n;
        if edges.iter().any(|&(from, to)| is_unknown(from) || is_unknown(to & !SOFT))
            || sagas.has_unknown(n)
            || marks.iter().any(|(task, _)| is_unknown(task.0))
        {
            return Err(GraphError::UnknownTask);
        }
        let successors = Rows::group(n, edges.iter().copied());
        let predecessors = Rows::group(n, edges.iter().map(|&(from, to)| (to & !SOFT, from | (to & SOFT))));
        drop(edges);

        let mut level = vec![0u32; n];
        let topological = topological_order(&successors, &predecessors, &mut level)?;
        let mut remaining = vec![0u64; n];
        for &task in topological.iter().rev() {
            let after = successors.row(task as usize).iter().map(|s| remaining[(s & !SOFT) as usize]).max();
            remaining[task as usize] = u64::from(specs[task as usize].weight) + after.unwrap_or(0);
        }
        drop(topological);

        let pools = specs.iter().map(|s| usize::from(s.pool.0) + 1).max().unwrap_or(1);
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.sort_unstable_by_key(|&i| {
            let spec = &specs[i as usize];
            (core::cmp::Reverse(spec.priority), core::cmp::Reverse(remaining[i as usize]), i)
        });
        drop(remaining);
        let order = Rows::group(pools, order.iter().map(|&i| (u32::from(specs[i as usize].pool.0), i)));
        let levels = level.iter().max().map_or(0, |l| l + 1);
        let by_level =
            waves.then(|| Rows::group(levels as usize, level.iter().enumerate().map(|(i, &l)| (l, i as u32))));
        if policies.is_empty() {
            policies.push(RetryPolicy::NONE);
        }
        let sagas = sagas.build(&level, policies.len());
        let vertex = |(spec, level): (&TaskSpec, u32)| Vertex {
            rank: 0,
            level,
            retry: spec.retry.min(policies.len() as u16 - 1),
            pool: spec.pool,
            flags: spec.flags(),
        };
        let mut vertices: Vec<Vertex> = specs.iter().zip(level).map(vertex).collect();
        marks.iter().for_each(|(task, mark)| vertices[task.index()].flags |= mark);
        for pool in 0..pools {
            for (r, &task) in order.row(pool).iter().enumerate() {
                vertices[task as usize].rank = r as u32;
            }
        }
        for task in superseded {
            vertices.get_mut(task as usize).ok_or(GraphError::UnknownTask)?.flags |= SUPERSEDED;
        }
        Ok(Graph { successors, predecessors, vertices, by_level, levels, order, policies, sagas })
    }
}

impl TaskSpec {
    fn flags(&self) -> u8 {
        let doubt = match self.on_doubt {
            OnDoubt::Rerun => 0,
            OnDoubt::Ask => 1,
            OnDoubt::Fail => 2,
            OnDoubt::Compensate => 3,
        };
        (u8::from(self.safe_to_fail) * SAFE) | (u8::from(self.side_effects) * EFFECTS) | (doubt << DOUBT_SHIFT)
    }
}

/// Kahn's algorithm; fills the levels on the way.
fn topological_order(successors: &Rows, predecessors: &Rows, level: &mut [u32]) -> Result<Vec<u32>, GraphError> {
    let n = level.len();
    let mut unmet: Vec<u32> = (0..n).map(|i| predecessors.row(i).len() as u32).collect();
    let mut order: Vec<u32> = (0..n as u32).filter(|&i| unmet[i as usize] == 0).collect();
    order.reserve_exact(n - order.len());
    let mut at = 0;
    while let Some(&task) = order.get(at) {
        at += 1;
        for s in successors.row(task as usize) {
            let s = (s & !SOFT) as usize;
            level[s] = level[s].max(level[task as usize] + 1);
            unmet[s] -= 1;
            if unmet[s] == 0 {
                order.push(s as u32);
            }
        }
    }
    if order.len() == n { Ok(order) } else { Err(GraphError::Cycle) }
}

impl Graph {
    /// Number of tasks.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// True without tasks.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// Number of levels.
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// Longest distance from a root.
    pub fn level(&self, task: TaskIx) -> u32 {
        self.vertices[task.index()].level
    }

    /// Whether a level waits for the whole level before it.
    pub fn in_waves(&self) -> bool {
        self.by_level.is_some()
    }

    /// The tasks of a level, in waves only.
    pub(crate) fn tasks_of_level(&self, level: u32) -> &[u32] {
        self.by_level.as_ref().map_or(&[], |rows| rows.row(level as usize))
    }

    /// Who hangs on the task.
    pub fn successors(&self, task: TaskIx) -> impl ExactSizeIterator<Item = (TaskIx, Strength)> + '_ {
        self.successors.row(task.index()).iter().map(|&e| decode(e))
    }

    /// Where the edges that leave the task are, for [`Graph::edge`]: a loop over them may change the run meanwhile.
    pub(crate) fn leaving(&self, task: TaskIx) -> core::ops::Range<u32> {
        self.successors.offset[task.index()]..self.successors.offset[task.index() + 1]
    }

    /// One edge of [`Graph::leaving`]: the dependent and how it hangs.
    pub(crate) fn edge(&self, at: u32) -> (TaskIx, Strength) {
        decode(self.successors.items[at as usize])
    }

    /// On whom the task hangs.
    pub fn predecessors(&self, task: TaskIx) -> impl ExactSizeIterator<Item = (TaskIx, Strength)> + '_ {
        self.predecessors.row(task.index()).iter().map(|&e| decode(e))
    }

    /// Whose cap the task counts against.
    pub fn pool(&self, task: TaskIx) -> Pool {
        self.vertices[task.index()].pool
    }

    /// Number of pools.
    pub fn pools(&self) -> usize {
        self.order.offset.len() - 1
    }

    /// Place of the task in the order of its pool.
    pub(crate) fn rank(&self, task: TaskIx) -> u32 {
        self.vertices[task.index()].rank
    }

    /// The task at a place in the order of a pool.
    pub(crate) fn at_rank(&self, pool: Pool, rank: u32) -> TaskIx {
        TaskIx(self.order.row(usize::from(pool.0))[rank as usize])
    }

    /// Number of tasks in a pool.
    pub fn pool_size(&self, pool: Pool) -> usize {
        self.order.row(usize::from(pool.0)).len()
    }

    /// Whether a failure is a value.
    pub fn safe_to_fail(&self, task: TaskIx) -> bool {
        self.vertices[task.index()].flags & SAFE != 0
    }

    /// Whether a repeat could be noticed outside.
    pub fn side_effects(&self, task: TaskIx) -> bool {
        self.vertices[task.index()].flags & EFFECTS != 0
    }

    /// See [`OnDoubt`].
    pub fn on_doubt(&self, task: TaskIx) -> OnDoubt {
        match (self.vertices[task.index()].flags & DOUBT) >> DOUBT_SHIFT {
            0 => OnDoubt::Rerun,
            1 => OnDoubt::Ask,
            2 => OnDoubt::Fail,
            _ => OnDoubt::Compensate,
        }
    }

    /// Whether a person is asked about it.
    pub fn gate(&self, task: TaskIx) -> Gate {
        match self.vertices[task.index()].flags & (DECIDES | PRECEDES) {
            0 => Gate::None,
            DECIDES => Gate::Decides,
            _ => Gate::Precedes,
        }
    }

    /// Whether a person decides what becomes of its last failure.
    pub fn escalates(&self, task: TaskIx) -> bool {
        self.vertices[task.index()].flags & ESCALATES != 0
    }

    /// Whether another task stands for this one.
    pub fn superseded(&self, task: TaskIx) -> bool {
        self.vertices[task.index()].flags & SUPERSEDED != 0
    }

    /// Its retry policy.
    pub fn retry(&self, task: TaskIx) -> &RetryPolicy {
        &self.policies[usize::from(self.vertices[task.index()].retry)]
    }
}

fn decode(edge: u32) -> (TaskIx, Strength) {
    (TaskIx(edge & !SOFT), if edge & SOFT == 0 { Strength::Hard } else { Strength::Soft })
}
