//! Facts for tests: plain ones, heavy ones and any at all. They make no sense as a run, which no journal cares for.
#![allow(dead_code, reason = "each test file takes what it needs")]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use raddle_engine::attempt::{CostIs, Usage};
use raddle_engine::fact::{Chapter, Fact, OutputRef, Patched, Record};
use raddle_engine::gates::Question;
use raddle_engine::{Budget, Money};
use raddle_kernel::{Attempt, FailureClass, Outcome, TaskIx, Time};

/// A small record.
pub(crate) fn note(seq: u64) -> Record {
    let fact = Fact::AttemptStarted { task: TaskIx(seq as u32 * 3), attempt: Attempt(1) };
    Record { seq, at: Time(1_770_000_000_000 + seq * 5), fact }
}

/// Small records.
pub(crate) fn notes(seqs: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    seqs.map(note).collect()
}

/// A record of that many bytes and a few more.
pub(crate) fn heavy(seq: u64, bytes: usize) -> Record {
    let fact = Fact::AttemptFailed {
        task: TaskIx(seq as u32),
        attempt: Attempt(1),
        class: FailureClass::Exit,
        message: "m".repeat(bytes).into(),
        retry_at: None,
        usage: None,
        exhausted: true,
    };
    Record { seq, at: Time(1_770_000_000_000 - seq), fact }
}

/// Any records, numbered from 1.
pub(crate) fn any_records(most: usize) -> impl Strategy<Value = Vec<Record>> {
    vec((any::<u64>(), any_fact()), 0..most).prop_map(|facts| {
        facts.into_iter().zip(1..).map(|((at, fact), seq)| Record { seq, at: Time(at), fact }).collect()
    })
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let task = || any::<u32>().prop_map(TaskIx);
    let attempt = || any::<u32>().prop_map(Attempt);
    let text = || ".{0,12}".prop_map(String::into_boxed_str);
    prop_oneof![
        vec(".{0,20}", 9).prop_map(|t| {
            let [run, workflow, hash, source, source_name, base_dir, inputs, options, version] =
                t.try_into().expect("nine texts");
            Fact::Started(Box::new(Chapter {
                run,
                workflow,
                hash,
                source,
                source_name,
                base_dir,
                inputs,
                options,
                version,
            }))
        }),
        (task(), attempt()).prop_map(|(task, attempt)| Fact::AttemptStarted { task, attempt }),
        (task(), attempt(), any_output(), option::of(any_usage()), option::of(text())).prop_map(
            |(task, attempt, output, usage, session)| {
                Fact::AttemptSucceeded { task, attempt, output, usage, session }
            }
        ),
        (
            (task(), attempt(), proptest::sample::select(&FailureClass::ALL[..]), text()),
            (option::of(any::<u64>().prop_map(Time)), option::of(any_usage()), any::<bool>())
        )
            .prop_map(|((task, attempt, class, message), (retry_at, usage, exhausted))| {
                Fact::AttemptFailed { task, attempt, class, message, retry_at, usage, exhausted }
            }),
        (task(), attempt()).prop_map(|(task, attempt)| Fact::AttemptAbandoned { task, attempt }),
        (task(), attempt()).prop_map(|(task, attempt)| Fact::AttemptDoubted { task, attempt }),
        task().prop_map(|task| Fact::TaskRetried { task }),
        task().prop_map(|task| Fact::TaskSkipped { task }),
        (task(), attempt(), any_output()).prop_map(|(task, attempt, output)| Fact::TaskAdopted {
            task,
            attempt,
            output
        }),
        (task(), text(), text(), text()).prop_map(|(task, action, resource, rule)| Fact::Denied {
            task,
            action,
            resource,
            rule
        }),
        (task(), attempt(), text(), text()).prop_map(|(task, attempt, model, reason)| Fact::ModelChosen {
            task,
            attempt,
            model,
            reason
        }),
        any::<u32>().prop_map(|epoch| Fact::Resumed { epoch }),
        Just(Fact::Cancelled),
        proptest::sample::select(vec![
            Outcome::Running,
            Outcome::Waiting,
            Outcome::Succeeded,
            Outcome::Degraded,
            Outcome::Failed,
            Outcome::Cancelled,
            Outcome::BudgetExhausted,
        ])
        .prop_map(|outcome| Fact::Finished { outcome }),
        (task(), attempt()).prop_map(|(task, attempt)| Fact::CompensationStarted { task, attempt }),
        (task(), attempt()).prop_map(|(task, attempt)| Fact::CompensationSucceeded { task, attempt }),
        (
            (task(), attempt(), proptest::sample::select(&FailureClass::ALL[..])),
            (text(), option::of(any::<u64>().prop_map(Time)))
        )
            .prop_map(|((task, attempt, class), (message, retry_at))| {
                Fact::CompensationFailed { task, attempt, class, message, retry_at }
            }),
        (task(), attempt()).prop_map(|(task, attempt)| Fact::CompensationAbandoned { task, attempt }),
        (task(), text()).prop_map(|(task, reason)| Fact::TaskOmitted { task, reason }),
        (text(), text(), text(), option::of(text()), any::<u32>()).prop_map(|(id, why, change, undoes, tasks)| {
            let (id, why, change, undoes) =
                (id.to_string(), why.to_string(), change.to_string(), undoes.map(|u| u.to_string()));
            let source = change.clone();
            Fact::Patched(Box::new(Patched { id, why, change, undoes, tasks, source, ..Patched::default() }))
        }),
        any::<[Option<u64>; 4]>().prop_map(|[usd, tokens, agents, wall_ms]| Fact::BudgetSet {
            budget: Budget { usd: usd.map(Money), tokens, agents, wall_ms }
        }),
        (task(), attempt(), any_usage()).prop_map(|(task, attempt, usage)| Fact::UsageReported {
            task,
            attempt,
            usage
        }),
        (any::<u64>(), text()).prop_map(|(paused_ms, reason)| Fact::StorageRecovered { paused_ms, reason }),
        text().prop_map(|reason| Fact::Salvaged { reason }),
        any_gate(),
    ]
}

fn any_gate() -> impl Strategy<Value = Fact> {
    let task = || any::<u32>().prop_map(TaskIx);
    let attempt = || any::<u32>().prop_map(Attempt);
    let text = || ".{0,12}".prop_map(String::into_boxed_str);
    prop_oneof![
        (task(), attempt(), option::of(any::<u64>().prop_map(Time)), text(), text(), any::<[u8; 32]>()).prop_map(
            |(task, attempt, expires_at, text, work, hash)| {
                let question = Box::new(Question { text, work, hash });
                Fact::GateOpened { task, attempt, expires_at, question }
            }
        ),
        (task(), attempt(), text(), option::of(text()), option::of(any_output()))
            .prop_map(|(task, attempt, by, comment, output)| Fact::GateApproved { task, attempt, by, comment, output }),
        (task(), attempt(), text(), option::of(text())).prop_map(|(task, attempt, by, comment)| Fact::GateRejected {
            task,
            attempt,
            by,
            comment
        }),
        (task(), attempt()).prop_map(|(task, attempt)| Fact::GateExpired { task, attempt }),
        (task(), attempt(), proptest::sample::select(&FailureClass::ALL[..]), text())
            .prop_map(|(task, attempt, class, message)| Fact::GateFailed { task, attempt, class, message }),
    ]
}

fn any_output() -> impl Strategy<Value = OutputRef> {
    prop_oneof![
        ".{0,30}".prop_map(|t| OutputRef::Inline(t.into())),
        any::<([u8; 32], u64)>().prop_map(|(digest, bytes)| OutputRef::Stored { digest, bytes }),
    ]
}

fn any_usage() -> impl Strategy<Value = Box<Usage>> {
    let cost = option::of(prop_oneof![0.0..1e6f64, Just(f64::INFINITY), Just(-0.0)]);
    let provenance =
        proptest::sample::select(vec![CostIs::Reported, CostIs::Priced, CostIs::Reserved, CostIs::Unknown]);
    (any::<[u64; 4]>(), cost, provenance).prop_map(|(tokens, cost_usd, cost_is)| {
        let [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens] = tokens;
        Box::new(Usage { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd, cost_is })
    })
}
