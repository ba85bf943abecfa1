//! Graphs of the benchmark harness (`.dag` text) and synthetic shapes, straight into the kernel's form. It does not
//! know workflows: these tasks have numbers, not ids.

use std::io::{BufRead, BufReader};
use std::path::Path;

use raddle_kernel::{Graph, GraphBuilder, OnDoubt, Pool, RetryPolicy, Strength, TaskIx, TaskSpec};

/// A task that does nothing, may be repeated and costs `weight`.
pub fn plain_task(weight: u32) -> TaskSpec {
    TaskSpec {
        priority: 0,
        weight,
        pool: Pool(0),
        safe_to_fail: false,
        side_effects: false,
        on_doubt: OnDoubt::Rerun,
        retry: 0,
    }
}

/// Reads `dag NAME NODES EDGES`, then per node `RUNTIME PARENT PARENT …`, ids from 0 in topological order. Runtimes in
/// seconds become weights in milliseconds.
pub fn read(path: &Path) -> Result<Graph, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    let mut lines = BufReader::with_capacity(1 << 16, file);
    let mut line = String::new();
    lines.read_line(&mut line).map_err(|e| e.to_string())?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, _, nodes, edges] = words[..] else { return Err("no `dag NAME NODES EDGES` line".into()) };
    let size = |word: &str| word.parse::<usize>().map_err(|e| e.to_string());
    let mut builder = GraphBuilder::with_capacity(size(nodes)?, size(edges)?);
    builder.policy(RetryPolicy::NONE);
    loop {
        line.clear();
        if lines.read_line(&mut line).map_err(|e| e.to_string())? == 0 {
            break;
        }
        let mut words = line.split_ascii_whitespace();
        let Some(runtime) = words.next() else { continue };
        let seconds: f64 = runtime.parse().map_err(|e| format!("runtime {runtime}: {e}"))?;
        let task = builder.task(plain_task((seconds * 1000.0) as u32));
        for parent in words {
            let parent = parent.parse().map_err(|e| format!("parent {parent}: {e}"))?;
            builder.edge(TaskIx(parent), task, Strength::Hard);
        }
    }
    builder.build().map_err(|e| format!("{e:?}"))
}

/// One task after the other.
pub fn chain(tasks: u32) -> Graph {
    chains(1, tasks)
}

/// `count` chains side by side with `tasks` tasks in all.
pub fn chains(count: u32, tasks: u32) -> Graph {
    let mut builder = GraphBuilder::with_capacity(tasks as usize, tasks as usize);
    builder.policy(RetryPolicy::NONE);
    for i in 0..tasks {
        let task = builder.task(plain_task(1));
        if i >= count {
            builder.edge(TaskIx(i - count), task, Strength::Hard);
        }
    }
    builder.build().expect("chains have no cycles")
}

/// Tasks that do not know each other.
pub fn fan(tasks: u32) -> Graph {
    chains(tasks, tasks)
}
