//! Attempts to get out of what a task is held to, as data: each succeeds without enforcement and fails with it.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic, and says what it cannot try")]

#[path = "../kit/mod.rs"]
mod kit;
mod world;

use std::sync::Arc;

use kit::Bench;
use raddle_engine::attempt::{Confinement, Network, RawOutput};
use raddle_executors::support;
use world::World;

const ATTEMPTS: &str = include_str!("attempts.txt");

/// One attempt of the list.
struct Attempt {
    name: &'static str,
    conditions: Vec<&'static str>,
    script: &'static str,
}

fn attempts() -> Vec<Attempt> {
    let listed = ATTEMPTS.split("\n== ").skip(1).map(|text| {
        let (head, script) = text.split_once('\n').unwrap();
        let mut words = head.split(' ');
        Attempt { name: words.next().unwrap(), conditions: words.collect(), script }
    });
    listed.collect()
}

fn confinement(world: &World, conditions: &[&str]) -> Confinement {
    let below = |name: &str| format!("{}/**", world.path(name).display());
    let at = |name: &str| world.path(name).display().to_string();
    let deny = vec![at("work/.env"), below("work/denied"), at("work/sub/.env"), at("work/*.pem")];
    if conditions.contains(&"deny") {
        return Confinement { deny, ..Confinement::default() };
    }
    Confinement {
        read: Some(vec![below("work"), below("open")]),
        write: Some(vec![below("work")]),
        deny,
        network: Network::None,
    }
}

#[test]
fn nothing_gets_out() {
    if let Some(why) = unable() {
        eprintln!("SKIPPED: escapes: {why}");
        return;
    }
    {
        let (mut bench, world) = (Bench::new(), World::new());
        let mut spec = bench.shell("cd $W; $PY 'print(6 * 7)'; git --version; unshare --version");
        spec.cwd = world.path("work");
        spec.env.extend(world.variables());
        spec.demands.confinement = Some(Arc::new(confinement(&world, &[])));
        let said = bench.run(spec);
        let works =
            matches!(&said, Ok(RawOutput::Text(text)) if text.starts_with("42\ngit") && text.contains("unshare"));
        assert!(works, "what attempts are made with must work when held: {said:?}");
    }
    let root = rustix::process::geteuid().is_root();
    let (mut tried, mut proofless, mut escaped) = (0, Vec::new(), Vec::new());
    let only = std::env::var("ESCAPE").ok();
    for attempt in attempts() {
        if attempt.conditions.contains(&"root") && !root || only.as_ref().is_some_and(|only| only != attempt.name) {
            continue;
        }
        let mut bench = Bench::new();
        let [control, held] = [false, true].map(|is_held| {
            let world = World::new();
            let mut spec = bench.shell(&format!("set +e\ncd $W\n: > started\n{}\n:", attempt.script));
            spec.cwd = world.path("work");
            spec.env.extend(world.variables());
            spec.demands.confinement = is_held.then(|| Arc::new(confinement(&world, &attempt.conditions)));
            let said = match bench.run(spec) {
                Ok(RawOutput::Text(text) | RawOutput::Json(text)) => text,
                Err((class, message)) => format!("{class:?}: {message}"),
            };
            assert!(world.path("work/started").exists(), "{}: it was not even tried: {said}", attempt.name);
            if only.is_some() {
                eprintln!("--- held: {is_held}\n{said}\n{:?}", world.damage(""));
            }
            world.damage(&said)
        });
        tried += 1;
        if control.is_none() {
            proofless.push(attempt.name);
        }
        if let Some(how) = held {
            escaped.push(format!("{}: {how}", attempt.name));
        }
    }
    assert!(escaped.is_empty(), "of {tried} attempts these got out: {escaped:#?}");
    // Some controls need rights that a container may not have.
    if !proofless.is_empty() {
        eprintln!("these do not succeed here without enforcement either and prove nothing: {proofless:?}");
    }
    let proven = tried - proofless.len();
    assert!(only.is_some() || proven >= 100, "only {proven} of {tried} prove anything; the others: {proofless:?}");
}

fn unable() -> Option<String> {
    let support = support();
    let python = std::process::Command::new("python3").arg("-V").output();
    support.files.or(support.mounts).or_else(|| python.is_err().then(|| "python3 is not installed".to_owned()))
}
