//! `raddle sim`: simulated runs of a workflow by seed, and what they showed. It does not know how a story is lived
//! through; it loads, asks and tells.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use raddle_model::caps;
use raddle_sim::{Broken, Found, Kind, Kinds, Subject, Terms, Told, live, search, shrink};
use serde_json::{Map, Value, json};

use crate::args::SimArgs;
use crate::exit::Exit;
use crate::loading;
use crate::problem::Problem;
use crate::run;
use crate::terminal::{self, Colour, counted, grouped, harmless};

/// Milliseconds between two words on how far it has come.
const PROGRESS_EVERY_MS: u64 = 2000;

/// A workflow and how to name it again.
struct Case<'a> {
    args: &'a SimArgs,
    subject: Subject,
    name: String,
    hash: String,
    invariants: Vec<String>,
}

/// `raddle sim`.
pub fn sim(args: &SimArgs, colour: Colour) -> Result<Exit, Problem> {
    let shape = args.shape.understood()?;
    let (workflow, loaded) = loading::load(&shape, colour)?.accepted(shape.strict, colour)?;
    // Simulated engines never change their definition.
    let grows = |task: &&raddle_model::workflow::Task| task.course.foreach.is_some() || task.course.is_replaceable;
    if let Some(task) = workflow.tasks.iter().find(grows) {
        return Err(Problem::not_yet("raddle sim", "cannot follow `foreach` and `on_exhausted: {replace: …}`")
            .hint(format!("task {} has one of them", task.id)));
    }
    if let Some((task, key)) = Subject::unsimulated(&workflow) {
        let told = format!("not-yet-supported: task {task} has `{key}`, which cannot be simulated yet");
        return Err(Problem::usage(told).hint("leave it out of a copy of the workflow and simulate that"));
    }
    let caps = caps::caps(&workflow, &loaded.project.catalog.settings);
    let inputs = run::inputs(&workflow, args.inputs_file.as_deref(), &args.input)?;
    let (name, hash) = (workflow.name.clone(), workflow.hash.clone());
    let invariants = workflow.invariants.iter().map(|invariant| invariant.name.clone()).collect();
    let terms = Terms {
        admission: run::gates::admission(&workflow, &caps, &loaded.project),
        caps: run::gates::by_pool(workflow.mode, &caps).iter().map(|cap| cap.value).collect(),
        models: loaded.project.catalog.models.clone(),
        inputs,
        workflow,
    };
    let case = Case { args, subject: Subject::new(terms), name, hash, invariants };
    case.subject.notes().iter().for_each(|note| terminal::tell(&format!("note: {}\n", harmless(note))));
    tell_the_seed_of_a_panic();
    match args.seed {
        Some(seed) => case.tell(&live(&case.subject, seed, args.faults, None, true)),
        None => case.explore(),
    }
}

impl Case<'_> {
    /// One seed, from its beginning to its end.
    fn tell(&self, told: &Told) -> Result<Exit, Problem> {
        if self.args.json {
            let mut document = self.head();
            document.extend(self.entry(told));
            document.insert("outcome".into(), if told.outcome.is_empty() { Value::Null } else { json!(told.outcome) });
            terminal::print(&format!("{}\n", Value::Object(document)))?;
        } else {
            let mut text = format!("seed {} of {}\n", told.seed, harmless(&self.name));
            text.push_str(&faults(told, "misfortunes"));
            text.push_str("what happened:\n");
            told.lines.iter().for_each(|line| text.push_str(&format!("  {}\n", harmless(line))));
            match &told.broken {
                Some(broken) => text.push_str(&format!("{}\n", words(broken))),
                None => text.push_str("every promise held\n"),
            }
            terminal::print(&text)?;
        }
        Ok(if told.broken.is_some() { Exit::Failed } else { Exit::Success })
    }

    fn explore(&self) -> Result<Exit, Problem> {
        let args = self.args;
        let jobs = match args.jobs {
            Some(jobs) => jobs as usize,
            None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        };
        let (began, told_ms) = (Instant::now(), AtomicU64::new(0));
        let progress = |done: u64| {
            let ms = began.elapsed().as_millis() as u64;
            let last = told_ms.load(Ordering::Relaxed);
            let mine = || told_ms.compare_exchange(last, ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            if ms >= last + PROGRESS_EVERY_MS && mine() {
                terminal::tell(&format!("{} of {} seeds\n", grouped(done), grouped(args.seeds)));
            }
        };
        let found = search(&self.subject, args.from..args.from + args.seeds, args.faults, jobs, &progress);
        let elapsed_ms = began.elapsed().as_millis() as u64;
        let smallest: Vec<Told> = found.failing.iter().map(|told| shrink(&self.subject, told, args.faults)).collect();
        if args.json {
            self.print_document(&found, &smallest, elapsed_ms)?;
        } else {
            terminal::print(&self.summary(&found, &smallest, elapsed_ms))?;
        }
        Ok(if found.failed > 0 { Exit::Failed } else { Exit::Success })
    }

    fn summary(&self, found: &Found, smallest: &[Told], elapsed_ms: u64) -> String {
        let mut text = String::new();
        for small in simplest(smallest) {
            let Some(broken) = &small.broken else { continue };
            text.push_str(&format!("seed {}: {}\n", small.seed, words(broken)));
            text.push_str(&faults(small, "the smallest set of misfortunes that breaks it"));
            text.push_str("what happened then:\n");
            small.lines.iter().for_each(|line| text.push_str(&format!("  {}\n", harmless(line))));
            text.push_str(&format!("replay the whole story: {}\n", self.replay(small.seed)));
            let others = smallest.iter().filter(|told| told.seed != small.seed && is_same(told, small));
            let others: Vec<String> = others.map(|told| told.seed.to_string()).collect();
            if !others.is_empty() {
                text.push_str(&format!("also broken by: {}\n", others.join(", ")));
            }
            text.push('\n');
        }
        let counts = |counts: Vec<(String, u64)>| match counts.is_empty() {
            true => "none".to_owned(),
            false => counts.iter().map(|(what, n)| format!("{what} {}", grouped(*n))).collect::<Vec<_>>().join(" · "),
        };
        let struck = found.struck.iter().map(|(kind, n)| (kind.name().to_owned(), *n)).collect();
        let outcomes = found.outcomes.iter().map(|(outcome, n)| (outcome.clone(), *n)).collect();
        let per_second = found.seeds.saturating_mul(1000) / elapsed_ms.max(1);
        text.push_str(&format!(
            "seeds      {} to {} in {} ({}/s)\nfaults     {}\noutcomes   {}\n",
            self.args.from,
            self.args.from + self.args.seeds - 1,
            terminal::duration(elapsed_ms),
            grouped(per_second),
            counts(struck),
            counts(outcomes)
        ));
        let checked = match self.invariants.len() {
            0 => "what is promised of every run (the workflow has no `invariants:`)".to_owned(),
            n => format!("{} and what is promised of every run", counted(n, "invariant")),
        };
        text.push_str(&format!("checked    {checked}\n"));
        text.push_str(&match found.failed {
            0 => format!("every promise held in {}\n", counted(found.seeds as usize, "seed")),
            n => format!("{} of {} broke a promise\n", grouped(n), counted(found.seeds as usize, "seed")),
        });
        text
    }

    fn print_document(&self, found: &Found, smallest: &[Told], elapsed_ms: u64) -> Result<(), Problem> {
        let mut document = self.head();
        let failing: Vec<Value> = smallest.iter().map(|told| Value::Object(self.entry(told))).collect();
        let struck: Map<String, Value> =
            Kind::ALL.iter().map(|k| (k.name().to_owned(), json!(found.struck.get(k).copied().unwrap_or(0)))).collect();
        document.insert("from".into(), self.args.from.into());
        document.insert("seeds".into(), found.seeds.into());
        document.insert("struck".into(), Value::Object(struck));
        document.insert("outcomes".into(), json!(found.outcomes));
        document.insert("failed".into(), found.failed.into());
        document.insert("failing".into(), failing.into());
        document.insert("duration_ms".into(), elapsed_ms.into());
        terminal::print(&format!("{}\n", Value::Object(document)))
    }

    fn head(&self) -> Map<String, Value> {
        let kinds: Vec<&str> = Kind::ALL.iter().filter(|k| self.args.faults.has(**k)).map(|k| k.name()).collect();
        let head = [
            ("workflow", json!(self.name)),
            ("hash", json!(self.hash)),
            ("invariants", json!(self.invariants)),
            ("faults", json!(kinds)),
            ("notes", json!(self.subject.notes())),
        ];
        head.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// A seed in a document.
    fn entry(&self, told: &Told) -> Map<String, Value> {
        let broken = told.broken.as_ref().map(
            |Broken { promise, invariant, what }| json!({"promise": promise, "is_invariant": invariant, "what": what}),
        );
        let faults: Vec<Value> =
            told.faults.iter().map(|(fault, words)| json!({"kind": fault.kind.name(), "what": words})).collect();
        let entry = [
            ("seed", json!(told.seed)),
            ("broken", broken.unwrap_or(Value::Null)),
            ("misfortunes", faults.into()),
            ("story", json!(told.lines)),
            ("replay", json!(self.replay(told.seed))),
        ];
        entry.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The command that tells a seed again.
    fn replay(&self, seed: u64) -> String {
        let (args, shape) = (self.args, &self.args.shape);
        let mut words: Vec<String> = vec!["raddle".into(), "sim".into()];
        words.extend(shape.file.iter().chain(&shape.words).cloned());
        let mut flag = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([format!("--{name}"), value]);
            }
        };
        flag("seed", Some(seed.to_string()));
        flag("mode", shape.mode.clone());
        flag("parallelism", shape.parallelism.clone());
        flag("optimization", shape.optimization.clone());
        flag("max-parallel", shape.max_parallel.map(|n| n.to_string()));
        flag("inputs-file", args.inputs_file.as_ref().map(|path| path.to_string_lossy().into_owned()));
        args.input.iter().for_each(|pair| flag("input", Some(pair.clone())));
        flag("faults", (args.faults != Kinds::ALL).then(|| kind_words(args.faults)));
        words.extend(shape.parallel.then(|| "--parallel".to_owned()));
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }
}

fn is_same(a: &Told, b: &Told) -> bool {
    let promise = |told: &Told| told.broken.as_ref().map(|broken| broken.promise.clone());
    promise(a) == promise(b)
}

/// For each promise the seed that needs the fewest misfortunes to break it, then the fewest lines to tell it.
fn simplest(smallest: &[Told]) -> Vec<&Told> {
    let mut chosen: Vec<&Told> = Vec::new();
    for told in smallest {
        match chosen.iter_mut().find(|other| is_same(other, told)) {
            Some(other) => {
                let size = |told: &Told| (told.faults.len(), told.lines.len(), told.seed);
                if size(told) < size(other) {
                    *other = told;
                }
            }
            None => chosen.push(told),
        }
    }
    chosen
}

fn words(broken: &Broken) -> String {
    let (promise, what) = (harmless(&broken.promise), harmless(&broken.what));
    match (broken.invariant, promise == what) {
        (true, true) => format!("the invariant is broken: {what}"),
        (true, false) => format!("the invariant {promise} is broken: {what}"),
        (false, _) => format!("this program broke its promise that {promise}: {what}"),
    }
}

fn faults(told: &Told, title: &str) -> String {
    let mut text = format!("{title}:\n");
    if told.faults.is_empty() {
        text.push_str("  none\n");
    }
    for (fault, words) in &told.faults {
        text.push_str(&format!("  {}: {}\n", fault.kind.name(), harmless(words)));
    }
    text
}

/// The value of `--faults`, the shorter way.
fn kind_words(kinds: Kinds) -> String {
    let (there, missing): (Vec<Kind>, Vec<Kind>) = Kind::ALL.into_iter().partition(|kind| kinds.has(*kind));
    let names =
        |kinds: &[Kind], before: &str| kinds.iter().map(|k| format!("{before}{}", k.name())).collect::<Vec<_>>();
    match (there.is_empty(), missing.len() < there.len()) {
        (true, _) => "none".into(),
        (false, true) => format!("all,{}", names(&missing, "-").join(",")),
        (false, false) => names(&there, "").join(","),
    }
}

/// An engine that panics ends this process; whoever sees that should know which seed it was.
fn tell_the_seed_of_a_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        usual(info);
        if let Some(seed) = raddle_sim::current_seed() {
            terminal::tell(&format!("this happened in seed {seed}; `--seed {seed}` does it again\n"));
        }
    }));
}

/// As a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
