//! Times real workers: cold start, warm calls, and an aggregation over 1.3 MB of JSON. Build with `--release` along
//! with the example `sandbox_worker`, which it starts.

#![allow(clippy::print_stdout, reason = "the figures are its output")]

use std::path::Path;
use std::time::{Duration, Instant};

use raddle_sandbox::client::Worker;
use raddle_sandbox::{Broker, Config, Request};

const AGGREGATE: &str = "
  const byAuthor = new Map();
  for (const c of deps.log.output) {
    const a = byAuthor.get(c.author.name) ?? { commits: 0, added: 0, files: 0 };
    a.commits++; a.added += c.stats.additions; a.files += c.files.length;
    byAuthor.set(c.author.name, a);
  }
  const top = [...byAuthor].sort((x, y) => y[1].added - x[1].added || (x[0] < y[0] ? -1 : 1)).slice(0, 5);
  return top.map(([name, a]) => ({ name, ...a }));";

fn main() {
    let folder = std::env::current_exe().expect("the program has a path");
    let program = folder.with_file_name("sandbox_worker").into_os_string().into_string().expect("the path is UTF-8");
    let mut argv = vec![program];
    argv.extend(Config::default().to_args());
    let broker = Broker::new(Path::new("/"), &[]);
    let call = |worker: &mut Worker, code: &str, deps: &str| {
        let timeout = Duration::from_secs(10);
        let request = Request { id: 1, name: "bench", code, deps, context: "{}", tools: "", fixed: None, timeout };
        worker.call(&request, &broker).result.expect("the code is right")
    };
    let spawn = || Worker::spawn(&argv).expect("a worker starts");

    report("cold: start, seal, first call", 200, |times| {
        for _ in 0..times {
            call(&mut spawn(), "return 1 + 1", "{}");
        }
    });
    let mut worker = spawn();
    let before = cpu(&worker);
    report("warm: 1 + 1", 5000, |times| {
        for _ in 0..times {
            call(&mut worker, "return 1 + 1", "{}");
        }
    });
    println!("      worker's own processor time per call: {:.4} ms", (cpu(&worker) - before) / 5000.0);
    report("warm: 1 + 1, new code each time", 2000, |times| {
        for i in 0..times {
            call(&mut worker, &format!("const x: number = {i}; return x + 1"), "{}");
        }
    });
    report("warm: 1 + 1, caller pauses", 500, |times| {
        let mut busy = Duration::ZERO;
        for _ in 0..times {
            std::thread::sleep(Duration::from_millis(1));
            let began = Instant::now();
            call(&mut worker, "return 1 + 1", "{}");
            busy += began.elapsed();
        }
        println!("      of it inside calls: {:.4} ms", busy.as_secs_f64() * 1e3 / f64::from(times));
    });
    let deps = commits();
    let before = cpu(&worker);
    report(&format!("warm: aggregate {} bytes of JSON", deps.len()), 100, |times| {
        for _ in 0..times {
            call(&mut worker, AGGREGATE, &deps);
        }
    });
    println!("      worker's own processor time per call: {:.4} ms", (cpu(&worker) - before) / 100.0);
}

fn report(what: &str, times: u32, run: impl FnOnce(u32)) {
    let began = Instant::now();
    run(times);
    println!("{:>9.4} ms  {what}", began.elapsed().as_secs_f64() * 1e3 / f64::from(times));
}

/// Milliseconds on a processor so far.
fn cpu(worker: &Worker) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/schedstat", worker.id())).unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or_default() / 1e6
}

fn commits() -> String {
    let commits: Vec<_> = (0..1000)
        .map(|i: u32| {
            let files: Vec<_> = (0..8 + i % 9)
                .map(|f| serde_json::json!({"path": format!("src/module_{}/file_{f}.rs", i % 37), "additions": f * 3, "deletions": f, "status": "modified"}))
                .collect();
            serde_json::json!({
                "sha": format!("{:040x}", u64::from(i) * 7919), "author": {"name": format!("author {}", i % 23), "email": format!("a{}@example.org", i % 23)},
                "date": "2026-01-01T00:00:00Z", "message": format!("change number {i}: some words about what was done and why"),
                "stats": {"additions": i % 300, "deletions": i % 100}, "files": files, "parents": [format!("{:040x}", i)],
            })
        })
        .collect();
    serde_json::json!({"log": {"status": "success", "output": commits}}).to_string()
}
