//! `fallback:` as edges: the spare task waits softly for the one that it stands in for, and whatever depends on that one
//! waits for it softly and for the spare as it did before. It does not know that a spare that is not needed is skipped;
//! the engine does that.

use super::Reading;
use super::edges::Edge;
use super::task::Draft;
use crate::diagnostic::quoted;
use crate::workflow::{Strength, TaskIndex};

/// Adds the edges of all fallbacks.
pub(super) fn connect(drafts: &mut [Draft<'_>], cx: &mut Reading<'_, '_>) {
    let pairs: Vec<(usize, TaskIndex)> =
        drafts.iter().enumerate().filter_map(|(n, draft)| Some((n, draft.fallback?.0))).collect();
    for (n, (task, spare)) in pairs.iter().copied().enumerate() {
        let is_taken = pairs[..n].iter().any(|(_, earlier)| *earlier == spare);
        let wrong = match () {
            () if spare as usize == task => Some("cannot stand in for itself"),
            () if drafts[spare as usize].fallback.is_some() => Some("has a fallback itself; one is all there is"),
            () if is_taken => Some("stands in for another task already"),
            () => None,
        };
        if let (Some(what), Some((_, span))) = (wrong, drafts[task].fallback) {
            let message = format!("{} {what}", quoted(drafts[spare as usize].id));
            cx.sink
                .error("bad-value", span, message)
                .help("a fallback is a task of its own that runs only when this one fails")
                .task(drafts[task].id);
            continue;
        }
        join(drafts, task, spare as usize);
    }
}

fn join(drafts: &mut [Draft<'_>], task: usize, spare: usize) {
    let span = drafts[task].fallback.map(|(_, span)| span).unwrap_or_default();
    let edge = |to: usize, strength| Edge { task: to as TaskIndex, strength, span };
    let points_to = |to: usize| move |edge: &Edge| edge.task as usize == to;
    // What the task never came to for want of its own dependencies has not failed: the spare is blocked with it.
    let needed: Vec<Edge> =
        drafts[task].dependencies.iter().filter(|edge| edge.strength == Strength::Hard).copied().collect();
    let own = &mut drafts[spare].dependencies;
    own.retain(|edge| !points_to(task)(edge));
    own.push(edge(task, Strength::Soft));
    for need in needed {
        if !own.iter().any(points_to(need.task as usize)) {
            own.push(need);
        }
    }
    drafts[spare].is_connected = true;
    drafts[task].is_connected = true;
    for (n, draft) in drafts.iter_mut().enumerate() {
        if n == spare {
            continue;
        }
        let mut before = None;
        for edge in draft.dependencies.iter_mut().filter(|edge| points_to(task)(edge)) {
            before = Some(edge.strength);
            edge.strength = Strength::Soft;
        }
        if let Some(strength) = before
            && !draft.dependencies.iter().any(points_to(spare))
        {
            draft.dependencies.push(edge(spare, strength));
        }
    }
}
