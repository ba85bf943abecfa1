//! Times the scheduling core alone: every task of a layered random graph is admitted, starts and succeeds. Prints
//! nanoseconds per task beside a bare ready-queue loop over the same edges (the limit).
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use raddle_kernel::*;

fn main() {
    let n: u32 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1_000_000);
    let width = (n as f64).sqrt() as u32 * 2;
    let (mut builder, mut x) = (GraphBuilder::with_capacity(n as usize, 3 * n as usize), 88172645463325252u64);
    builder.policy(RetryPolicy::NONE);
    for i in 0..n {
        builder.task(TaskSpec {
            priority: 0,
            weight: 1,
            pool: Pool(0),
            safe_to_fail: false,
            side_effects: false,
            on_doubt: OnDoubt::Rerun,
            retry: 0,
        });
        let (row, mut before) = (i / width, [u32::MAX; 3]);
        for slot in 0..3 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let parent = row.saturating_sub(1) * width + (x >> 20) as u32 % width;
            if row > 0 && !before.contains(&parent) {
                before[slot] = parent;
                builder.edge(TaskIx(parent), TaskIx(i), Strength::Hard);
            }
        }
    }
    let began = Instant::now();
    let graph = Arc::new(builder.build().expect("layers have no cycles"));
    println!("build   {:>7.1} ns/task", began.elapsed().as_nanos() as f64 / f64::from(n));
    for _ in 0..3 {
        let limit = bare(&graph);
        let core = kernel(&graph);
        println!("bare    {limit:>7.1} ns/task   kernel {core:>7.1} ns/task   ratio {:.2}", core / limit);
    }
}

fn bare(graph: &Graph) -> f64 {
    let n = graph.len() as u32;
    let mut unmet: Vec<u32> = (0..n).map(|i| graph.predecessors(TaskIx(i)).len() as u32).collect();
    let began = Instant::now();
    let mut ready: Vec<TaskIx> = (0..n).map(TaskIx).filter(|t| unmet[t.index()] == 0).collect();
    let mut done = 0u32;
    while let Some(task) = ready.pop() {
        done += 1;
        for (s, _) in graph.successors(task) {
            unmet[s.index()] -= 1;
            if unmet[s.index()] == 0 {
                ready.push(s);
            }
        }
    }
    assert_eq!(black_box(done), n);
    began.elapsed().as_nanos() as f64 / f64::from(n)
}

fn kernel(graph: &Arc<Graph>) -> f64 {
    let mut run = Run::new(Arc::clone(graph));
    let (mut events, mut live) = (Vec::new(), Vec::new());
    let began = Instant::now();
    run.handle(Input::Begin, Time(0), &mut events).expect("it can begin");
    while run.finished().is_none() {
        while let Some((_, task)) = run.next_ready(Pool(0), 0) {
            run.handle(Input::Admit { task }, Time(1), &mut events).expect("it is ready");
            if live.len() == 256 {
                break;
            }
            live.push(task);
            events.clear();
        }
        for task in live.drain(..) {
            run.handle(Input::Succeeded { task, attempt: Attempt(1) }, Time(2), &mut events).expect("it is live");
        }
        let rest: Vec<Command> = run.outstanding().collect();
        for command in rest {
            let (Command::Run { task, attempt } | Command::Stop { task, attempt }) = command;
            run.handle(Input::Succeeded { task, attempt }, Time(2), &mut events).expect("it is live");
        }
        events.clear();
        run.drain_touched();
    }
    began.elapsed().as_nanos() as f64 / graph.len() as f64
}
