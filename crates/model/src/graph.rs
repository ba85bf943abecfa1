//! Levels, cycles and ancestors over dense indexes. It does not know ids or what tasks do. Levels are longest
//! distances from a root (Kahn's algorithm, 1962); the members of cycles are strongly connected components (Tarjan,
//! 1972). Nothing recurses, so a chain of any length is fine.

use crate::workflow::TaskIndex;

/// Lists of neighbours, packed: those of `n` are `to[start[n]..start[n + 1]]`.
pub(crate) struct Neighbours {
    start: Vec<u32>,
    to: Vec<TaskIndex>,
}

impl Neighbours {
    /// From one list per task.
    pub(crate) fn new<I: IntoIterator<Item = TaskIndex>>(lists: impl Iterator<Item = I>) -> Self {
        let mut start = vec![0];
        let mut to = Vec::new();
        for list in lists {
            to.extend(list);
            start.push(to.len() as u32);
        }
        Neighbours { start, to }
    }

    pub(crate) fn of(&self, task: TaskIndex) -> &[TaskIndex] {
        &self.to[self.start[task as usize] as usize..self.start[task as usize + 1] as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.start.len() - 1
    }

    /// The same edges seen from the other end; lists come out sorted.
    pub(crate) fn reversed(&self) -> Neighbours {
        let mut start = vec![0u32; self.start.len()];
        for &to in &self.to {
            start[to as usize + 1] += 1;
        }
        for n in 1..start.len() {
            start[n] += start[n - 1];
        }
        let mut next = start.clone();
        let mut to = vec![0; self.to.len()];
        for from in 0..self.len() as TaskIndex {
            for &target in self.of(from) {
                to[next[target as usize] as usize] = from;
                next[target as usize] += 1;
            }
        }
        Neighbours { start, to }
    }
}

/// Tasks in an order in which every edge goes forward, with their levels.
pub(crate) struct Order {
    /// Shorter than the graph when there are cycles: their members and what hangs on them are missing.
    pub(crate) tasks: Vec<TaskIndex>,
    /// Longest distance from a root, by task.
    pub(crate) levels: Vec<u32>,
}

/// `dependencies` lists the prerequisites of each task, `dependents` is its reverse.
pub(crate) fn order(dependencies: &Neighbours, dependents: &Neighbours) -> Order {
    let count = dependencies.len();
    let mut waiting: Vec<u32> = (0..count as TaskIndex).map(|task| dependencies.of(task).len() as u32).collect();
    let mut levels = vec![0u32; count];
    let mut tasks: Vec<TaskIndex> = (0..count as TaskIndex).filter(|task| waiting[*task as usize] == 0).collect();
    let mut next = 0;
    while let Some(&task) = tasks.get(next) {
        next += 1;
        let level = levels[task as usize] + 1;
        for &dependent in dependents.of(task) {
            let slot = dependent as usize;
            levels[slot] = levels[slot].max(level);
            waiting[slot] -= 1;
            if waiting[slot] == 0 {
                tasks.push(dependent);
            }
        }
    }
    Order { tasks, levels }
}

/// One shortest cycle through the first member of every strongly connected component of more than one task, from
/// prerequisite to dependent.
pub(crate) fn cycles(dependents: &Neighbours, order: &Order) -> Vec<Vec<TaskIndex>> {
    let mut ordered = vec![false; dependents.len()];
    order.tasks.iter().for_each(|task| ordered[*task as usize] = true);
    let component = components(dependents, &ordered);
    let mut cycles = Vec::new();
    let mut told = vec![false; dependents.len() + 1];
    for task in 0..dependents.len() as TaskIndex {
        let own = component[task as usize];
        if ordered[task as usize] || std::mem::replace(&mut told[own as usize], true) {
            continue;
        }
        if let Some(cycle) = shortest_cycle(dependents, &component, task) {
            cycles.push(cycle);
        }
    }
    cycles
}

/// A breadth-first search from the task back to itself, within its component.
fn shortest_cycle(dependents: &Neighbours, component: &[u32], task: TaskIndex) -> Option<Vec<TaskIndex>> {
    let mut parent = std::collections::HashMap::from([(task, task)]);
    let mut queue = std::collections::VecDeque::from([task]);
    while let Some(at) = queue.pop_front() {
        for &next in dependents.of(at) {
            if next == task {
                let mut path = vec![at];
                let mut back = at;
                while back != task {
                    back = parent[&back];
                    path.push(back);
                }
                path.reverse();
                return Some(path);
            }
            if component[next as usize] == component[task as usize] && !parent.contains_key(&next) {
                parent.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

/// The number of the strongly connected component of each task that is not ordered.
fn components(graph: &Neighbours, ordered: &[bool]) -> Vec<u32> {
    const UNSEEN: u32 = u32::MAX;
    let count = graph.len();
    let (mut index, mut low) = (vec![UNSEEN; count], vec![UNSEEN; count]);
    let mut component = vec![0u32; count];
    let mut on_stack = vec![false; count];
    let (mut stack, mut calls) = (Vec::new(), Vec::<(TaskIndex, usize)>::new());
    let (mut next_index, mut next_component) = (0, 1);
    for root in 0..count as TaskIndex {
        if ordered[root as usize] || index[root as usize] != UNSEEN {
            continue;
        }
        calls.push((root, 0));
        while let Some((task, child)) = calls.pop() {
            let slot = task as usize;
            if child == 0 {
                index[slot] = next_index;
                low[slot] = next_index;
                next_index += 1;
                stack.push(task);
                on_stack[slot] = true;
            }
            if let Some(&next) = graph.of(task).get(child) {
                calls.push((task, child + 1));
                if index[next as usize] == UNSEEN && !ordered[next as usize] {
                    calls.push((next, 0));
                } else if on_stack[next as usize] {
                    low[slot] = low[slot].min(index[next as usize]);
                }
                continue;
            }
            if low[slot] == index[slot] {
                while let Some(member) = stack.pop() {
                    on_stack[member as usize] = false;
                    component[member as usize] = next_component;
                    if member == task {
                        break;
                    }
                }
                next_component += 1;
            }
            if let Some((parent, _)) = calls.last() {
                low[*parent as usize] = low[*parent as usize].min(low[slot]);
            }
        }
    }
    component
}

/// Which of the questions "is `ancestor` an ancestor of `task`?" are to be answered with no; questions about tasks
/// that are not ordered are not answered. Asks 64 ancestors at a time in one sweep over the part of the order that
/// lies between them and their askers.
pub(crate) fn non_ancestors(
    questions: &[(TaskIndex, TaskIndex)],
    dependencies: &Neighbours,
    order: &Order,
) -> Vec<usize> {
    let mut position = vec![u32::MAX; dependencies.len()];
    for (n, task) in order.tasks.iter().enumerate() {
        position[*task as usize] = n as u32;
    }
    let place = |task: TaskIndex| position[task as usize];
    let mut open: Vec<usize> = (0..questions.len())
        .filter(|n| {
            let (task, ancestor) = questions[*n];
            // A direct dependency is the common case.
            place(task) != u32::MAX && place(ancestor) != u32::MAX && !dependencies.of(task).contains(&ancestor)
        })
        .collect();
    open.sort_by_key(|n| place(questions[*n].1));
    let mut no = Vec::new();
    let mut reached = vec![0u64; order.tasks.len()];
    let mut rest = open.as_slice();
    while !rest.is_empty() {
        let mut bits: Vec<u32> = Vec::with_capacity(64);
        let mut taken = 0;
        for n in rest {
            let ancestor = place(questions[*n].1);
            if bits.last() != Some(&ancestor) {
                if bits.len() == 64 {
                    break;
                }
                bits.push(ancestor);
            }
            taken += 1;
        }
        let (batch, later) = rest.split_at(taken);
        rest = later;
        let first = bits[0] as usize;
        let last = batch.iter().map(|n| place(questions[*n].0) as usize).max().unwrap_or(0);
        let mut bit = 0;
        for at in first..=last.max(first) {
            let task = order.tasks[at];
            let mut mask = 0;
            for &prerequisite in dependencies.of(task) {
                let from = place(prerequisite) as usize;
                if from >= first {
                    mask |= reached[from];
                }
            }
            if bits.get(bit) == Some(&(at as u32)) {
                mask |= 1 << bit;
                bit += 1;
            }
            reached[at] = mask;
        }
        for n in batch {
            let (task, ancestor) = questions[*n];
            let bit = bits.binary_search(&place(ancestor)).unwrap_or(0);
            let at = place(task) as usize;
            // A task is not its own ancestor, and what comes earlier in the order is nobody's descendant.
            if at <= place(ancestor) as usize || reached[at] & (1 << bit) == 0 {
                no.push(*n);
            }
        }
    }
    no.sort_unstable();
    no
}

#[cfg(test)]
mod tests;
