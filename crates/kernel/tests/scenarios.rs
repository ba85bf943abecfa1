//! Stories in a small language: tasks, then inputs at times, and below each input what must come of it: events, states
//! that changed, what may start (in order), what is owed, how the run stands. `UPDATE=1` writes the lines below the
//! inputs anew; the difference is then there for a reviewer to see.
//!
//! ```text
//! waves
//! task b after a, ~c  retry=2 delay=1000 on=exit,signal safe effects doubt=ask prio=1 weight=5 pool=1 gate=precedes escalates
//! task d saga=1 undo          `undo=2` allows its compensation two retries
//! 10 fail b exit          also: begin, admit, succeed, lost, retry, skip, adopt, cancel, tick, exhaust, reopen; `b.2` names an attempt
//! 11 ask b 500            asks about b until 500 (or without an end); unfit b input; yes b; no b
//! ```

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raddle_kernel::*;

struct Teller {
    names: Vec<String>,
    run: Run,
    events: Vec<Event>,
    graph: Arc<Graph>,
    shown: Shown,
}

/// What was shown last; only differences are shown again.
#[derive(PartialEq, Clone, Default)]
struct Shown {
    states: Vec<Option<TaskState>>,
    startable: Vec<String>,
    owed: Vec<String>,
    question: Option<String>,
    outcome: Option<Outcome>,
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

/// What a task says of its saga: the scope, and how often its compensation is retried where it has one.
#[derive(Default)]
struct SagaWords {
    scope: u32,
    undo: Option<u16>,
}

/// What a task has beside its spec.
#[derive(Default)]
struct Marks {
    gate: Gate,
    escalates: bool,
}

fn set_option(spec: &mut TaskSpec, retry: &mut RetryPolicy, saga: &mut SagaWords, marks: &mut Marks, word: &str) {
    match word.split_once('=').unwrap_or((word, "")) {
        ("safe", _) => spec.safe_to_fail = true,
        ("effects", _) => spec.side_effects = true,
        ("prio", value) => spec.priority = number(value),
        ("weight", value) => spec.weight = number(value),
        ("pool", value) => spec.pool = Pool(number(value)),
        ("retry", value) => retry.max = number(value),
        ("rounds", value) => retry.rounds = number(value),
        ("delay", value) => retry.initial_ms = number(value),
        ("on", value) => {
            let class = |name| 1 << FailureClass::from_name(name).expect("a failure class") as u8;
            retry.classes = value.split(',').fold(0, |mask, name| mask | class(name));
        }
        ("doubt", "ask") => spec.on_doubt = OnDoubt::Ask,
        ("doubt", "rerun") => spec.on_doubt = OnDoubt::Rerun,
        ("doubt", "fail") => spec.on_doubt = OnDoubt::Fail,
        ("doubt", "compensate") => spec.on_doubt = OnDoubt::Compensate,
        ("saga", value) => saga.scope = number(value),
        ("undo", "") => saga.undo = Some(0),
        ("undo", value) => saga.undo = Some(number(value)),
        ("gate", "decides") => marks.gate = Gate::Decides,
        ("gate", "precedes") => marks.gate = Gate::Precedes,
        ("escalates", _) => marks.escalates = true,
        _ => panic!("unknown option `{word}`"),
    }
}

/// Reads the tasks. Names in `after` may come later in the file.
fn read_graph(text: &str) -> (Vec<String>, Graph) {
    let mut builder = GraphBuilder::default();
    let lines = || text.lines().filter_map(|line| line.strip_prefix("task "));
    let names: Vec<String> = lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    let index = |name: &str| {
        let at = names.iter().position(|n| n == name).unwrap_or_else(|| panic!("unknown task `{name}`"));
        TaskIx(at as u32)
    };
    builder.waves(text.lines().any(|line| line == "waves"));
    let mut edges = Vec::new();
    for line in lines() {
        let mut words = line.split_whitespace();
        let own = index(words.next().expect("a name"));
        let mut spec = TaskSpec {
            priority: 0,
            weight: 1,
            pool: Pool(0),
            safe_to_fail: false,
            side_effects: false,
            on_doubt: OnDoubt::Ask,
            retry: 0,
        };
        let mut retry = RetryPolicy { classes: RetryPolicy::every_class(), ..RetryPolicy::NONE };
        let (mut after, mut saga, mut marks) = (false, SagaWords::default(), Marks::default());
        for word in words {
            if word == "after" {
                after = true;
            } else if after && !word.contains('=') && !["safe", "effects", "undo", "escalates"].contains(&word) {
                let name = word.trim_end_matches(',');
                match name.strip_prefix('~') {
                    Some(name) => edges.push((index(name), own, Strength::Soft)),
                    None => edges.push((index(name), own, Strength::Hard)),
                }
            } else {
                set_option(&mut spec, &mut retry, &mut saga, &mut marks, word);
            }
        }
        spec.retry = builder.policy(retry);
        let task = builder.task(spec);
        builder.gate(task, marks.gate);
        if marks.escalates {
            builder.escalate(task);
        }
        if saga.scope > 0 {
            builder.scope(own, saga.scope);
        }
        if let Some(max) = saga.undo {
            let policy = builder.policy(RetryPolicy { max, ..retry });
            builder.undo(own, policy);
        }
    }
    edges.into_iter().for_each(|(from, to, strength)| builder.edge(from, to, strength));
    (names, builder.build().expect("a graph"))
}

impl Teller {
    fn new(text: &str) -> Self {
        let (names, graph) = read_graph(text);
        let graph = Arc::new(graph);
        let shown = Shown { states: vec![None; names.len()], ..Shown::default() };
        Teller { run: Run::new(Arc::clone(&graph)), names, events: Vec::new(), graph, shown }
    }

    fn name(&self, task: TaskIx) -> &str {
        &self.names[task.index()]
    }

    fn input(&self, words: &[&str]) -> Input {
        let (name, explicit) = match words.get(1).and_then(|word| word.rsplit_once('.')) {
            Some((name, attempt)) => (name, Some(Attempt(number(attempt)))),
            None => (words.get(1).copied().unwrap_or(""), None),
        };
        // A task that is not in the story is one that the run does not know.
        let task = TaskIx(self.names.iter().position(|n| n == name).unwrap_or(self.names.len()) as u32);
        let live = || Attempt(if task.index() < self.names.len() { self.run.attempts(task) } else { 1 });
        let attempt = explicit.unwrap_or_else(live);
        match words[0] {
            "begin" => Input::Begin,
            "tick" => Input::Tick,
            "cancel" => Input::Cancel,
            "exhaust" => Input::Exhaust,
            "reopen" => Input::Reopen,
            "admit" => Input::Admit { task },
            "succeed" => Input::Succeeded { task, attempt },
            "fail" => {
                let class = FailureClass::from_name(words[2]).expect("a failure class");
                Input::Failed { task, attempt, class, noise: 0, lasting: words.get(3) == Some(&"lasting") }
            }
            "lost" => Input::Lost { task, attempt },
            "retry" => Input::Retry { task },
            "skip" => Input::Skip { task },
            "omit" => Input::Omit { task },
            "adopt" => Input::Adopt { task, attempt },
            "ask" => Input::Ask { task, expires_at: words.get(2).map(|at| Time(number(at))) },
            "unfit" => Input::Unfit { task, class: FailureClass::from_name(words[2]).expect("a failure class") },
            "yes" | "no" => {
                let waits = || match self.run.state(task) {
                    TaskState::Waiting { attempt, .. } => attempt,
                    _ => attempt,
                };
                let verdict = if words[0] == "yes" { Verdict::Yes } else { Verdict::No };
                Input::Answer { task, attempt: explicit.unwrap_or_else(waits), verdict }
            }
            other => panic!("unknown input `{other}`"),
        }
    }

    fn told(&self, event: Event) -> String {
        let of = |task: TaskIx, attempt: Attempt| format!("{}.{}", self.name(task), attempt.0);
        match event {
            Event::RunStarted => "run started".into(),
            Event::AttemptStarted { task, attempt } => format!("{} started", of(task, attempt)),
            Event::AttemptSucceeded { task, attempt } => format!("{} succeeded", of(task, attempt)),
            Event::AttemptFailed { task, attempt, class, retry_at: None } => {
                format!("{} failed: {}", of(task, attempt), class.name())
            }
            Event::AttemptFailed { task, attempt, class, retry_at: Some(Time(at)) } => {
                format!("{} failed: {}, again at {at}", of(task, attempt), class.name())
            }
            Event::AttemptAbandoned { task, attempt } => format!("{} abandoned", of(task, attempt)),
            Event::AttemptDoubted { task, attempt } => format!("{} doubted", of(task, attempt)),
            Event::TaskRetried { task } => format!("{} retried", self.name(task)),
            Event::TaskSkipped { task } => format!("{} skipped", self.name(task)),
            Event::TaskOmitted { task } => format!("{} omitted", self.name(task)),
            Event::TaskAdopted { task, attempt } => format!("{} adopted", of(task, attempt)),
            Event::CompensationStarted { task, attempt } => format!("{} undoing", of(task, attempt)),
            Event::CompensationSucceeded { task, attempt } => format!("{} undone", of(task, attempt)),
            Event::CompensationFailed { task, attempt, class, retry_at: None } => {
                format!("{} not undone: {}", of(task, attempt), class.name())
            }
            Event::CompensationFailed { task, attempt, class, retry_at: Some(Time(at)) } => {
                format!("{} not undone: {}, again at {at}", of(task, attempt), class.name())
            }
            Event::CompensationAbandoned { task, attempt } => format!("{} abandoned half undone", of(task, attempt)),
            Event::GateOpened { task, attempt, expires_at: None } => format!("{} asked", of(task, attempt)),
            Event::GateOpened { task, attempt, expires_at: Some(Time(at)) } => {
                format!("{} asked until {at}", of(task, attempt))
            }
            Event::GateApproved { task, attempt } => format!("{} approved", of(task, attempt)),
            Event::GateRejected { task, attempt } => format!("{} rejected", of(task, attempt)),
            Event::GateExpired { task, attempt } => format!("{} expired", of(task, attempt)),
            Event::GateFailed { task, attempt, class } => {
                format!("{} could not be asked: {}", of(task, attempt), class.name())
            }
            Event::RunCancelled => "run cancelled".into(),
            Event::RunReopened => "run reopened".into(),
            Event::RunFinished { outcome } => format!("run finished: {}", outcome.name()),
        }
    }

    fn state(&self, task: TaskIx) -> String {
        let detail = match self.run.state(task) {
            TaskState::Ready => return format!("{} ready", self.name(task)),
            TaskState::Blocked { by } => format!(" by {}", self.name(by)),
            TaskState::Omitted { by } if by != task => format!(" because of {}", self.name(by)),
            TaskState::Failed { class, .. } | TaskState::FailedSafe { class, .. } => format!(": {}", class.name()),
            TaskState::Retrying { at, .. } => format!(" at {}", at.0),
            TaskState::ToUndo { .. } => return format!("{} to be undone", self.name(task)),
            TaskState::Undoing { .. } => return format!("{} being undone", self.name(task)),
            TaskState::UndoRetrying { at, .. } => return format!("{} being undone again at {}", self.name(task), at.0),
            TaskState::NotUndone { class, .. } => return format!("{} not undone: {}", self.name(task), class.name()),
            TaskState::Waiting { cause: Cause::Doubt, .. } => " in doubt".into(),
            TaskState::Waiting { cause: Cause::Approval { .. }, .. } => " for an answer".into(),
            TaskState::Waiting { cause: Cause::Exhausted { class }, .. } => format!(" after {}", class.name()),
            _ => String::new(),
        };
        format!("{} {}{detail}", self.name(task), self.run.state(task).name())
    }

    fn look(&self) -> Shown {
        let mut startable = Vec::new();
        for pool in 0..self.graph.pools() as u8 {
            let mut from = 0;
            while let Some((rank, task)) = self.run.next_ready(Pool(pool), from) {
                startable.push(self.name(task).to_owned());
                from = rank + 1;
            }
        }
        let owed = |command| match command {
            Command::Run { task, attempt } => format!("run {}.{}", self.name(task), attempt.0),
            Command::Stop { task, attempt } => format!("stop {}.{}", self.name(task), attempt.0),
        };
        Shown {
            states: (0..self.names.len() as u32).map(|i| Some(self.run.state(TaskIx(i)))).collect(),
            startable,
            owed: self.run.outstanding().map(owed).collect(),
            question: self.run.next_question().map(|task| self.name(task).to_owned()),
            outcome: Some(self.run.outcome()),
        }
    }

    /// Puts an input and says what came of it.
    fn put(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (first, before) = (self.events.len(), self.look());
        let handled = self.run.handle(self.input(&words[1..]), Time(number(words[0])), &mut self.events);
        let mut text = String::new();
        let mut tell = |what: String| writeln!(text, "    {what}").expect("a string takes text");
        if let Err(refusal) = handled {
            tell(format!("refused: {refusal:?}"));
            assert!(self.look() == before, "{line}: a refused input changed something");
        }
        self.events[first..].iter().for_each(|event| tell(format!("! {}", self.told(*event))));
        let now = self.look();
        let changed = |i: &usize| now.states[*i] != self.shown.states[*i];
        let states: Vec<String> = (0..self.names.len()).filter(changed).map(|i| self.state(TaskIx(i as u32))).collect();
        if !states.is_empty() {
            tell(format!("= {}", states.join(", ")));
        }
        let list = |items: &[String]| if items.is_empty() { "nothing".into() } else { items.join(", ") };
        if now.startable != self.shown.startable {
            tell(format!("may start: {}", list(&now.startable)));
        }
        if now.question != self.shown.question {
            tell(format!("to be asked: {}", now.question.as_deref().unwrap_or("nobody")));
        }
        if now.owed != self.shown.owed {
            tell(format!("owed: {}", list(&now.owed)));
        }
        if now.outcome != self.shown.outcome {
            tell(format!("stands: {}", self.run.outcome().name()));
        }
        self.shown = now;
        self.check(line);
        text
    }

    /// What holds whatever the story: everything derived is true and the events fold to the same run.
    fn check(&self, line: &str) {
        self.run.check().unwrap_or_else(|e| panic!("{line}: {e}"));
        let mut again = Run::new(Arc::clone(&self.graph));
        for event in &self.events {
            again.apply(*event).unwrap_or_else(|e| panic!("{line}: {e:?}"));
        }
        again.check().unwrap_or_else(|e| panic!("{line}: the fold: {e}"));
        for i in 0..self.names.len() as u32 {
            assert_eq!(again.state(TaskIx(i)), self.run.state(TaskIx(i)), "{line}: the fold differs");
        }
        assert!(again.outstanding().eq(self.run.outstanding()), "{line}: the fold owes something else");
    }
}

fn check(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).expect("a readable scenario");
    let mut teller = Teller::new(&text);
    let mut told = String::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        told.push_str(line);
        told.push('\n');
        if line.starts_with(|c: char| c.is_ascii_digit()) {
            told += &teller.put(line);
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &told).expect("the scenario can be written");
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if told == text { Ok(()) } else { Err(format!("{name} went otherwise (UPDATE=1 writes it anew):\n{told}")) }
}

#[test]
fn every_scenario_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(folder).expect("the folder of scenarios");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "scenarios are missing");
    let wrong: Vec<String> = paths.iter().filter_map(|path| check(path).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
