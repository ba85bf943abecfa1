//! Things that are due at a moment, the earliest first. It does not know what they are for; a thing that is no
//! longer wanted stays in and is ignored by its owner when it comes up, which is cheaper than finding it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Due things of one kind.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    count: u64,
}

#[derive(Debug)]
struct Entry<T> {
    due: Instant,
    order: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl<T> Eq for Entry<T> {}
impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

impl<T> Timers<T> {
    /// None yet.
    pub(crate) fn new() -> Self {
        Timers { heap: BinaryHeap::new(), count: 0 }
    }

    /// Adds a thing.
    pub(crate) fn add(&mut self, due: Instant, what: T) {
        self.count += 1;
        self.heap.push(Reverse(Entry { due, order: self.count, what }));
    }

    /// When the next thing is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.0.due)
    }

    /// Drops the first things as long as they are not wanted any more.
    pub(crate) fn drop_while(&mut self, is_stale: impl Fn(&T) -> bool) {
        while self.heap.peek().is_some_and(|entry| is_stale(&entry.0.what)) {
            self.heap.pop();
        }
    }

    /// Takes one thing that is due by `now`.
    pub(crate) fn take(&mut self, now: Instant) -> Option<T> {
        if self.next()? <= now { self.heap.pop().map(|entry| entry.0.what) } else { None }
    }
}
