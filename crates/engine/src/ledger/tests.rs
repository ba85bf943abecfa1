//! The rules of the books, one by one: what is held, what is charged, who is let through. That they hold together over
//! crashes and owners is the simulation's matter.

use raddle_kernel::{Attempt, Outcome};

use super::*;
use crate::fact::OutputRef;

const DRAFT: TaskIx = TaskIx(0);
const REVIEW: TaskIx = TaskIx(1);
const COUNT: TaskIx = TaskIx(2);
const FIRST: Attempt = Attempt(1);

fn usd(dollars: f64) -> Money {
    Money::from_usd(dollars).expect("an amount")
}

/// Two agent tasks by the same model and one that is no agent.
fn snapshot() -> Snapshot {
    let task = |id: &str, kind: &str| TaskRecord { id: id.into(), kind: kind.into(), ..TaskRecord::default() };
    let tasks = vec![task("draft", "agent"), task("review", "agent"), task("count", "shell")];
    Snapshot { tasks, ..Snapshot::default() }
}

fn with(change: impl FnOnce(&mut Snapshot)) -> Ledger {
    let mut snapshot = snapshot();
    change(&mut snapshot);
    Ledger::new(&snapshot)
}

fn within(dollars: f64) -> Ledger {
    with(|s| s.budget.usd = Some(usd(dollars)))
}

fn cost(dollars: f64) -> Option<Usage> {
    Some(Usage { input_tokens: 90, output_tokens: 10, cost_usd: Some(dollars), ..Usage::default() })
}

fn tell(ledger: &mut Ledger, at: u64, fact: Fact) -> Option<Usage> {
    ledger.apply(&Record { seq: 1, at: Time(at), fact })
}

fn start(ledger: &mut Ledger, task: TaskIx) {
    tell(ledger, 0, Fact::AttemptStarted { task, attempt: FIRST });
}

fn succeed(ledger: &mut Ledger, task: TaskIx, usage: Option<Usage>) {
    let (output, usage) = (OutputRef::Inline("1".into()), usage.map(Box::new));
    tell(ledger, 0, Fact::AttemptSucceeded { task, attempt: FIRST, output, usage, session: None });
}

fn fail(ledger: &mut Ledger, task: TaskIx, class: FailureClass, usage: Option<Usage>) {
    let (message, usage) = ("".into(), usage.map(Box::new));
    let (retry_at, exhausted) = (None, false);
    tell(ledger, 0, Fact::AttemptFailed { task, attempt: FIRST, class, message, retry_at, usage, exhausted });
}

fn verdict(ledger: &Ledger, task: TaskIx) -> Verdict {
    ledger.verdict(task, Time(0))
}

#[test]
fn an_attempt_holds_what_is_best_known_of_its_cost() {
    let held = |ledger: &mut Ledger| {
        start(ledger, REVIEW);
        ledger.held().usd
    };
    let mut nobody_knows = within(1.0);
    assert_eq!(held(&mut nobody_knows), Money::ZERO);
    let mut alike = within(1.0);
    for dollars in [0.1, 0.3] {
        start(&mut alike, DRAFT);
        succeed(&mut alike, DRAFT, cost(dollars));
    }
    assert_eq!(held(&mut alike), usd(0.2), "what others of its model cost on average");
    let mut estimated = with(|s| s.tasks[1].estimated_cost = Some(usd(0.05)));
    assert_eq!(held(&mut estimated), usd(0.05));
    let mut limited = with(|s| {
        s.tasks[1].estimated_cost = Some(usd(0.05));
        s.tasks[1].cost_budget = Some(usd(0.5));
    });
    start(&mut limited, REVIEW);
    fail(&mut limited, REVIEW, FailureClass::Exit, cost(0.2));
    assert_eq!(held(&mut limited), usd(0.3), "what earlier attempts have left of its `cost_budget`");
}

#[test]
fn a_report_takes_the_place_of_what_was_held_and_silence_does_not() {
    let begun = || {
        let mut ledger = with(|s| s.tasks[0].estimated_cost = Some(usd(0.25)));
        start(&mut ledger, DRAFT);
        assert_eq!((ledger.spent().usd, ledger.held().usd), (Money::ZERO, usd(0.25)));
        ledger
    };
    let settled = |ledger: &Ledger, dollars: f64| {
        assert_eq!((ledger.spent().usd, ledger.held()), (usd(dollars), Amount::default()));
    };
    let mut ledger = begun();
    succeed(&mut ledger, DRAFT, cost(0.01));
    settled(&ledger, 0.01);
    assert_eq!((ledger.spent().tokens, ledger.spent().agents), (100, 1));

    let mut dear = begun();
    fail(&mut dear, DRAFT, FailureClass::Schema, cost(4.0));
    settled(&dear, 4.0);

    let mut silent = begun();
    let reported = silent.complete(DRAFT, None, None).expect("an amount is held for it");
    assert_eq!((reported.cost_usd, reported.cost_is), (Some(0.25), CostIs::Reserved));
    succeed(&mut silent, DRAFT, Some(reported));
    settled(&silent, 0.25);

    let mut lost = begun();
    let charged = tell(&mut lost, 0, Fact::AttemptAbandoned { task: DRAFT, attempt: FIRST });
    assert_eq!(charged.and_then(|usage| usage.cost_usd), Some(0.25), "readers are told");
    settled(&lost, 0.25);

    let mut refused = begun();
    assert_eq!(refused.complete(DRAFT, None, Some(FailureClass::Auth)), None);
    fail(&mut refused, DRAFT, FailureClass::Auth, None);
    settled(&refused, 0.0);
}

#[test]
fn money_that_is_held_may_come_back_and_money_that_is_spent_does_not() {
    let mut ledger = with(|s| {
        s.budget.usd = Some(usd(1.0));
        s.tasks.iter_mut().for_each(|t| t.estimated_cost = Some(usd(0.6)));
    });
    assert_eq!(verdict(&ledger, DRAFT), Verdict::Fits);
    start(&mut ledger, DRAFT);
    assert_eq!(verdict(&ledger, REVIEW), Verdict::NotNow(Bound::Usd));
    let why = ledger.objection(REVIEW, Time(0)).expect("an objection");
    assert!(why.contains("$0.60 held") && why.contains("$0.60 needed"), "{why}");
    assert_eq!(verdict(&ledger, COUNT), Verdict::Fits, "it costs nothing");
    let mut cheap = ledger.clone();
    succeed(&mut cheap, DRAFT, cost(0.4));
    assert_eq!(verdict(&cheap, REVIEW), Verdict::Fits, "to the last cent");
    succeed(&mut ledger, DRAFT, cost(0.400_000_001));
    assert_eq!(verdict(&ledger, REVIEW), Verdict::Never(Bound::Usd));
    tell(&mut ledger, 0, Fact::BudgetSet { budget: Budget { usd: Some(usd(1.5)), ..Budget::default() } });
    assert_eq!(verdict(&ledger, REVIEW), Verdict::Fits, "of the larger budget, what was spent is spent");
    assert_eq!(ledger.spent().usd, usd(0.400_000_001));
}

#[test]
fn a_budget_that_is_used_up_pays_for_nobody_of_whom_nothing_is_known() {
    let mut ledger = within(0.1);
    start(&mut ledger, DRAFT);
    fail(&mut ledger, DRAFT, FailureClass::Exit, cost(0.1));
    assert_eq!(verdict(&ledger, REVIEW), Verdict::Never(Bound::Usd));
    let mut tokens = with(|s| s.budget.tokens = Some(100));
    start(&mut tokens, DRAFT);
    assert_eq!(verdict(&tokens, REVIEW), Verdict::Fits);
    succeed(&mut tokens, DRAFT, cost(0.0));
    assert_eq!(verdict(&tokens, REVIEW), Verdict::Never(Bound::Tokens));
    let mut agents = with(|s| s.budget.agents = Some(1));
    start(&mut agents, DRAFT);
    assert_eq!(verdict(&agents, REVIEW), Verdict::Never(Bound::Agents), "a started agent is never given back");
}

#[test]
fn a_task_has_its_own_budget_over_all_its_attempts() {
    let mut ledger = with(|s| s.tasks[0].cost_budget = Some(usd(0.5)));
    assert_eq!(ledger.left_of(DRAFT), Some(usd(0.5)));
    assert_eq!(ledger.left_of(REVIEW), None, "it has none");
    start(&mut ledger, DRAFT);
    assert_eq!(ledger.passed_by(DRAFT, cost(0.5).as_ref()), None);
    fail(&mut ledger, DRAFT, FailureClass::Exit, cost(0.3));
    assert_eq!(ledger.left_of(DRAFT), Some(usd(0.2)));
    assert_eq!(ledger.passed_by(DRAFT, cost(0.25).as_ref()), Some((usd(0.5), usd(0.55))));
    start(&mut ledger, DRAFT);
    fail(&mut ledger, DRAFT, FailureClass::Budget, cost(0.25));
    assert_eq!(ledger.left_of(DRAFT), Some(Money::ZERO));
}

#[test]
fn what_was_spent_stays_spent_under_another_definition() {
    let mut ledger = with(|s| s.tasks[0].cost_budget = Some(usd(0.5)));
    start(&mut ledger, DRAFT);
    fail(&mut ledger, DRAFT, FailureClass::Exit, cost(0.2));
    start(&mut ledger, DRAFT);
    let mut changed = snapshot();
    changed.budget.usd = Some(usd(0.5));
    changed.tasks[0].cost_budget = Some(usd(0.75));
    // It is another number now, and the same task.
    changed.tasks.swap(0, 1);
    ledger.begin_chapter(&changed);
    assert_eq!((ledger.spent().usd, ledger.held().usd), (usd(0.5), Money::ZERO), "nobody reports on the live one");
    assert_eq!(ledger.left_of(TaskIx(1)), Some(usd(0.25)));
    assert_eq!(verdict(&ledger, TaskIx(0)), Verdict::Never(Bound::Usd));
}

#[test]
fn only_time_in_which_an_engine_drives_the_run_counts() {
    let mut ledger = with(|s| s.budget.wall_ms = Some(1000));
    tell(&mut ledger, 5_000, Fact::Started(Box::default()));
    tell(&mut ledger, 5_400, Fact::AttemptStarted { task: COUNT, attempt: FIRST });
    tell(&mut ledger, 900_000, Fact::Resumed { epoch: 2 });
    assert_eq!(ledger.driven_ms(Time(900_000)), 400);
    assert_eq!(ledger.verdict(COUNT, Time(900_599)), Verdict::Fits);
    assert_eq!(ledger.verdict(COUNT, Time(900_600)), Verdict::Never(Bound::Wall), "also for what costs nothing");
    let mut damaged = ledger.clone();
    tell(&mut damaged, 990_000, Fact::Salvaged { reason: "torn".into() });
    tell(&mut damaged, 995_000, Fact::TaskRetried { task: COUNT });
    assert_eq!(damaged.driven_ms(Time(999_000)), 400, "nobody drove it until somebody takes it over");
    tell(&mut ledger, 900_700, Fact::Finished { outcome: Outcome::BudgetExhausted });
    assert!(ledger.objection(COUNT, Time(900_700)).is_some_and(|why| why.contains("driven for 1 s")));
}

#[test]
fn a_simulated_run_costs_nothing() {
    let mut ledger = with(|s| {
        s.options.simulate = true;
        s.budget.agents = Some(0);
    });
    start(&mut ledger, DRAFT);
    succeed(&mut ledger, DRAFT, None);
    assert_eq!(ledger.spent(), Amount::default());
    assert_eq!(verdict(&ledger, REVIEW), Verdict::Fits);
}
