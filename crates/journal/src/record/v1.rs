//! Version 1 of the record format: mirror types in postcard, one after the other. Released, hence frozen: the order
//! of variants and fields, and every number, is what is on people's disks. A change is a `v2.rs`. It does not know
//! how payloads are framed, hashed or stored.

use raddle_engine::attempt::{CostIs, Usage};
use raddle_engine::fact::{Chapter, Fact, OutputRef, Patched, Record};
use raddle_engine::gates::Question;
use raddle_engine::{Budget, Money};
use raddle_kernel::{Attempt, FailureClass, Outcome, TaskIx, Time};
use serde::{Deserialize, Serialize};

/// A record without its number, which follows from its place. Times are differences to the record before, since
/// they are small then; the clock may have gone back between two owners.
#[derive(Serialize, Deserialize)]
struct RecordV1<'a> {
    later_by: i64,
    #[serde(borrow)]
    fact: FactV1<'a>,
}

/// What happened. The variants' order is their number.
#[derive(Serialize, Deserialize)]
enum FactV1<'a> {
    #[serde(borrow)]
    Started(ChapterV1<'a>),
    AttemptStarted {
        task: u32,
        attempt: u32,
    },
    AttemptSucceeded {
        task: u32,
        attempt: u32,
        #[serde(borrow)]
        output: OutputV1<'a>,
        usage: Option<UsageV1>,
        #[serde(borrow)]
        session: Option<&'a str>,
    },
    AttemptFailed {
        task: u32,
        attempt: u32,
        class: u8,
        message: &'a str,
        retry_at: Option<u64>,
        usage: Option<UsageV1>,
        exhausted: bool,
    },
    AttemptAbandoned {
        task: u32,
        attempt: u32,
    },
    AttemptDoubted {
        task: u32,
        attempt: u32,
    },
    TaskRetried {
        task: u32,
    },
    TaskSkipped {
        task: u32,
    },
    TaskAdopted {
        task: u32,
        attempt: u32,
        #[serde(borrow)]
        output: OutputV1<'a>,
    },
    Denied {
        task: u32,
        action: &'a str,
        resource: &'a str,
        rule: &'a str,
    },
    Resumed {
        epoch: u32,
    },
    Cancelled,
    Finished {
        outcome: u8,
    },
    ModelChosen {
        task: u32,
        attempt: u32,
        model: &'a str,
        reason: &'a str,
    },
    BudgetSet(BudgetV1),
    UsageReported {
        task: u32,
        attempt: u32,
        usage: UsageV1,
    },
    StorageRecovered {
        paused_ms: u64,
        reason: &'a str,
    },
    Salvaged {
        reason: &'a str,
    },
    CompensationStarted {
        task: u32,
        attempt: u32,
    },
    CompensationSucceeded {
        task: u32,
        attempt: u32,
    },
    CompensationFailed {
        task: u32,
        attempt: u32,
        class: u8,
        message: &'a str,
        retry_at: Option<u64>,
    },
    CompensationAbandoned {
        task: u32,
        attempt: u32,
    },
    TaskOmitted {
        task: u32,
        reason: &'a str,
    },
    #[serde(borrow)]
    Patched(PatchedV1<'a>),
    GateOpened {
        task: u32,
        attempt: u32,
        expires_at: Option<u64>,
        question: &'a str,
        work: &'a str,
        hash: [u8; 32],
    },
    GateApproved {
        task: u32,
        attempt: u32,
        by: &'a str,
        #[serde(borrow)]
        comment: Option<&'a str>,
        #[serde(borrow)]
        output: Option<OutputV1<'a>>,
    },
    GateRejected {
        task: u32,
        attempt: u32,
        by: &'a str,
        #[serde(borrow)]
        comment: Option<&'a str>,
    },
    GateExpired {
        task: u32,
        attempt: u32,
    },
    GateFailed {
        task: u32,
        attempt: u32,
        class: u8,
        message: &'a str,
    },
}

#[derive(Serialize, Deserialize)]
struct PatchedV1<'a> {
    id: &'a str,
    by: &'a str,
    why: &'a str,
    change: &'a str,
    undoes: Option<&'a str>,
    hash: &'a str,
    source: &'a str,
    snapshot: &'a str,
    tasks: u32,
}

#[derive(Serialize, Deserialize)]
struct BudgetV1 {
    usd_nanos: Option<u64>,
    tokens: Option<u64>,
    agents: Option<u64>,
    wall_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct ChapterV1<'a> {
    run: &'a str,
    workflow: &'a str,
    hash: &'a str,
    source: &'a str,
    source_name: &'a str,
    base_dir: &'a str,
    inputs: &'a str,
    options: &'a str,
    version: &'a str,
}

#[derive(Serialize, Deserialize)]
enum OutputV1<'a> {
    #[serde(borrow)]
    Inline(&'a str),
    Stored {
        digest: [u8; 32],
        bytes: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct UsageV1 {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    cost_usd: Option<f64>,
    cost_is: u8,
}

/// Two functions over one table of stored numbers, so that writing and reading cannot disagree. The match over the
/// engine's words is exhaustive: a new word does not compile before it has a number.
macro_rules! stored_numbers {
    ($write:ident, $read:ident, $type:ty, { $($name:ident = $number:literal),+ $(,)? }) => {
        fn $write(word: $type) -> u8 {
            match word { $(<$type>::$name => $number),+ }
        }
        fn $read(number: u8) -> Result<$type, &'static str> {
            match number {
                $($number => Ok(<$type>::$name),)+
                _ => Err(concat!("no such ", stringify!($type))),
            }
        }
    };
}

stored_numbers!(class_number, class_of, FailureClass, {
    Start = 0, Exit = 1, Signal = 2, Timeout = 3, Idle = 4, Oom = 5, Output = 6, Schema = 7, Input = 8,
    Permission = 9, Budget = 10, Quota = 11, Auth = 12, TurnLimit = 13, Tool = 14, Logic = 15, Lost = 16,
    Cancelled = 17,
});

stored_numbers!(outcome_number, outcome_of, Outcome, {
    Running = 0, Waiting = 1, Succeeded = 2, Degraded = 3, Failed = 4, Cancelled = 5, BudgetExhausted = 6,
});

stored_numbers!(cost_is_number, cost_is_of, CostIs, { Reported = 0, Priced = 1, Reserved = 2, Unknown = 3 });

/// Appends the record to the payload and returns its time.
pub(super) fn encode(record: &Record, before: u64, payload: &mut Vec<u8>) -> u64 {
    let mirror = RecordV1 { later_by: record.at.0.wrapping_sub(before) as i64, fact: mirror(&record.fact) };
    *payload = postcard::to_extend(&mirror, std::mem::take(payload))
        .expect("memory takes every byte and the mirror types have no unsized parts");
    record.at.0
}

/// Reads all records of a payload.
pub(super) fn decode(
    first: u64,
    count: u32,
    mut payload: &[u8],
    each: &mut dyn FnMut(Record),
) -> Result<(), &'static str> {
    let mut at = 0u64;
    for i in 0..u64::from(count) {
        let (stored, rest) =
            postcard::take_from_bytes::<RecordV1<'_>>(payload).map_err(|_| "a record cannot be decoded")?;
        payload = rest;
        at = at.wrapping_add(stored.later_by as u64);
        each(Record { seq: first + i, at: Time(at), fact: fact(stored.fact)? });
    }
    if payload.is_empty() { Ok(()) } else { Err("bytes are left after the last record") }
}

fn mirror(fact: &Fact) -> FactV1<'_> {
    match fact {
        Fact::Started(c) => FactV1::Started(ChapterV1 {
            run: &c.run,
            workflow: &c.workflow,
            hash: &c.hash,
            source: &c.source,
            source_name: &c.source_name,
            base_dir: &c.base_dir,
            inputs: &c.inputs,
            options: &c.options,
            version: &c.version,
        }),
        Fact::AttemptStarted { task, attempt } => FactV1::AttemptStarted { task: task.0, attempt: attempt.0 },
        Fact::AttemptSucceeded { task, attempt, output, usage, session } => FactV1::AttemptSucceeded {
            task: task.0,
            attempt: attempt.0,
            output: mirror_output(output),
            usage: usage.as_deref().map(mirror_usage),
            session: session.as_deref(),
        },
        Fact::AttemptFailed { task, attempt, class, message, retry_at, usage, exhausted } => FactV1::AttemptFailed {
            task: task.0,
            attempt: attempt.0,
            class: class_number(*class),
            message,
            retry_at: retry_at.map(|t| t.0),
            usage: usage.as_deref().map(mirror_usage),
            exhausted: *exhausted,
        },
        Fact::AttemptAbandoned { task, attempt } => FactV1::AttemptAbandoned { task: task.0, attempt: attempt.0 },
        Fact::AttemptDoubted { task, attempt } => FactV1::AttemptDoubted { task: task.0, attempt: attempt.0 },
        Fact::TaskRetried { task } => FactV1::TaskRetried { task: task.0 },
        Fact::TaskSkipped { task } => FactV1::TaskSkipped { task: task.0 },
        Fact::TaskAdopted { task, attempt, output } => {
            FactV1::TaskAdopted { task: task.0, attempt: attempt.0, output: mirror_output(output) }
        }
        Fact::Denied { task, action, resource, rule } => FactV1::Denied { task: task.0, action, resource, rule },
        Fact::ModelChosen { task, attempt, model, reason } => {
            FactV1::ModelChosen { task: task.0, attempt: attempt.0, model, reason }
        }
        Fact::TaskOmitted { task, reason } => FactV1::TaskOmitted { task: task.0, reason },
        Fact::Patched(p) => FactV1::Patched(PatchedV1 {
            id: &p.id,
            by: &p.by,
            why: &p.why,
            change: &p.change,
            undoes: p.undoes.as_deref(),
            hash: &p.hash,
            source: &p.source,
            snapshot: &p.snapshot,
            tasks: p.tasks,
        }),
        Fact::Resumed { epoch } => FactV1::Resumed { epoch: *epoch },
        Fact::Cancelled => FactV1::Cancelled,
        Fact::Finished { outcome } => FactV1::Finished { outcome: outcome_number(*outcome) },
        Fact::BudgetSet { budget } => FactV1::BudgetSet(BudgetV1 {
            usd_nanos: budget.usd.map(|usd| usd.0),
            tokens: budget.tokens,
            agents: budget.agents,
            wall_ms: budget.wall_ms,
        }),
        Fact::UsageReported { task, attempt, usage } => {
            FactV1::UsageReported { task: task.0, attempt: attempt.0, usage: mirror_usage(usage) }
        }
        Fact::StorageRecovered { paused_ms, reason } => FactV1::StorageRecovered { paused_ms: *paused_ms, reason },
        Fact::Salvaged { reason } => FactV1::Salvaged { reason },
        Fact::CompensationStarted { task, attempt } => FactV1::CompensationStarted { task: task.0, attempt: attempt.0 },
        Fact::CompensationSucceeded { task, attempt } => {
            FactV1::CompensationSucceeded { task: task.0, attempt: attempt.0 }
        }
        Fact::CompensationFailed { task, attempt, class, message, retry_at } => FactV1::CompensationFailed {
            task: task.0,
            attempt: attempt.0,
            class: class_number(*class),
            message,
            retry_at: retry_at.map(|t| t.0),
        },
        Fact::CompensationAbandoned { task, attempt } => {
            FactV1::CompensationAbandoned { task: task.0, attempt: attempt.0 }
        }
        Fact::GateOpened { task, attempt, expires_at, question } => FactV1::GateOpened {
            task: task.0,
            attempt: attempt.0,
            expires_at: expires_at.map(|t| t.0),
            question: &question.text,
            work: &question.work,
            hash: question.hash,
        },
        Fact::GateApproved { task, attempt, by, comment, output } => FactV1::GateApproved {
            task: task.0,
            attempt: attempt.0,
            by,
            comment: comment.as_deref(),
            output: output.as_ref().map(mirror_output),
        },
        Fact::GateRejected { task, attempt, by, comment } => {
            FactV1::GateRejected { task: task.0, attempt: attempt.0, by, comment: comment.as_deref() }
        }
        Fact::GateExpired { task, attempt } => FactV1::GateExpired { task: task.0, attempt: attempt.0 },
        Fact::GateFailed { task, attempt, class, message } => {
            FactV1::GateFailed { task: task.0, attempt: attempt.0, class: class_number(*class), message }
        }
    }
}

fn mirror_output(output: &OutputRef) -> OutputV1<'_> {
    match output {
        OutputRef::Inline(text) => OutputV1::Inline(text),
        OutputRef::Stored { digest, bytes } => OutputV1::Stored { digest: *digest, bytes: *bytes },
    }
}

fn mirror_usage(usage: &Usage) -> UsageV1 {
    UsageV1 {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_read_tokens: usage.cache_read_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        cost_usd: usage.cost_usd,
        cost_is: cost_is_number(usage.cost_is),
    }
}

fn fact(stored: FactV1<'_>) -> Result<Fact, &'static str> {
    Ok(match stored {
        FactV1::Started(c) => Fact::Started(Box::new(Chapter {
            run: c.run.into(),
            workflow: c.workflow.into(),
            hash: c.hash.into(),
            source: c.source.into(),
            source_name: c.source_name.into(),
            base_dir: c.base_dir.into(),
            inputs: c.inputs.into(),
            options: c.options.into(),
            version: c.version.into(),
        })),
        FactV1::AttemptStarted { task, attempt } => {
            Fact::AttemptStarted { task: TaskIx(task), attempt: Attempt(attempt) }
        }
        FactV1::AttemptSucceeded { task, attempt, output, usage, session } => Fact::AttemptSucceeded {
            task: TaskIx(task),
            attempt: Attempt(attempt),
            output: output_ref(output),
            usage: usage.map(usage_of).transpose()?,
            session: session.map(Into::into),
        },
        FactV1::AttemptFailed { task, attempt, class, message, retry_at, usage, exhausted } => Fact::AttemptFailed {
            task: TaskIx(task),
            attempt: Attempt(attempt),
            class: class_of(class)?,
            message: message.into(),
            retry_at: retry_at.map(Time),
            usage: usage.map(usage_of).transpose()?,
            exhausted,
        },
        FactV1::AttemptAbandoned { task, attempt } => {
            Fact::AttemptAbandoned { task: TaskIx(task), attempt: Attempt(attempt) }
        }
        FactV1::AttemptDoubted { task, attempt } => {
            Fact::AttemptDoubted { task: TaskIx(task), attempt: Attempt(attempt) }
        }
        FactV1::TaskRetried { task } => Fact::TaskRetried { task: TaskIx(task) },
        FactV1::TaskSkipped { task } => Fact::TaskSkipped { task: TaskIx(task) },
        FactV1::TaskAdopted { task, attempt, output } => {
            Fact::TaskAdopted { task: TaskIx(task), attempt: Attempt(attempt), output: output_ref(output) }
        }
        FactV1::Denied { task, action, resource, rule } => {
            Fact::Denied { task: TaskIx(task), action: action.into(), resource: resource.into(), rule: rule.into() }
        }
        FactV1::ModelChosen { task, attempt, model, reason } => Fact::ModelChosen {
            task: TaskIx(task),
            attempt: Attempt(attempt),
            model: model.into(),
            reason: reason.into(),
        },
        FactV1::TaskOmitted { task, reason } => Fact::TaskOmitted { task: TaskIx(task), reason: reason.into() },
        FactV1::Patched(p) => Fact::Patched(Box::new(Patched {
            id: p.id.into(),
            by: p.by.into(),
            why: p.why.into(),
            change: p.change.into(),
            undoes: p.undoes.map(Into::into),
            hash: p.hash.into(),
            source: p.source.into(),
            snapshot: p.snapshot.into(),
            tasks: p.tasks,
        })),
        FactV1::Resumed { epoch } => Fact::Resumed { epoch },
        FactV1::Cancelled => Fact::Cancelled,
        FactV1::Finished { outcome } => Fact::Finished { outcome: outcome_of(outcome)? },
        FactV1::BudgetSet(BudgetV1 { usd_nanos, tokens, agents, wall_ms }) => {
            Fact::BudgetSet { budget: Budget { usd: usd_nanos.map(Money), tokens, agents, wall_ms } }
        }
        FactV1::UsageReported { task, attempt, usage } => {
            Fact::UsageReported { task: TaskIx(task), attempt: Attempt(attempt), usage: usage_of(usage)? }
        }
        FactV1::StorageRecovered { paused_ms, reason } => Fact::StorageRecovered { paused_ms, reason: reason.into() },
        FactV1::Salvaged { reason } => Fact::Salvaged { reason: reason.into() },
        FactV1::CompensationStarted { task, attempt } => {
            Fact::CompensationStarted { task: TaskIx(task), attempt: Attempt(attempt) }
        }
        FactV1::CompensationSucceeded { task, attempt } => {
            Fact::CompensationSucceeded { task: TaskIx(task), attempt: Attempt(attempt) }
        }
        FactV1::CompensationFailed { task, attempt, class, message, retry_at } => Fact::CompensationFailed {
            task: TaskIx(task),
            attempt: Attempt(attempt),
            class: class_of(class)?,
            message: message.into(),
            retry_at: retry_at.map(Time),
        },
        FactV1::CompensationAbandoned { task, attempt } => {
            Fact::CompensationAbandoned { task: TaskIx(task), attempt: Attempt(attempt) }
        }
        FactV1::GateOpened { task, attempt, expires_at, question, work, hash } => Fact::GateOpened {
            task: TaskIx(task),
            attempt: Attempt(attempt),
            expires_at: expires_at.map(Time),
            question: Box::new(Question { text: question.into(), work: work.into(), hash }),
        },
        FactV1::GateApproved { task, attempt, by, comment, output } => Fact::GateApproved {
            task: TaskIx(task),
            attempt: Attempt(attempt),
            by: by.into(),
            comment: comment.map(Into::into),
            output: output.map(output_ref),
        },
        FactV1::GateRejected { task, attempt, by, comment } => Fact::GateRejected {
            task: TaskIx(task),
            attempt: Attempt(attempt),
            by: by.into(),
            comment: comment.map(Into::into),
        },
        FactV1::GateExpired { task, attempt } => Fact::GateExpired { task: TaskIx(task), attempt: Attempt(attempt) },
        FactV1::GateFailed { task, attempt, class, message } => Fact::GateFailed {
            task: TaskIx(task),
            attempt: Attempt(attempt),
            class: class_of(class)?,
            message: message.into(),
        },
    })
}

fn output_ref(stored: OutputV1<'_>) -> OutputRef {
    match stored {
        OutputV1::Inline(text) => OutputRef::Inline(text.into()),
        OutputV1::Stored { digest, bytes } => OutputRef::Stored { digest, bytes },
    }
}

fn usage_of(stored: UsageV1) -> Result<Box<Usage>, &'static str> {
    Ok(Box::new(Usage {
        input_tokens: stored.input_tokens,
        output_tokens: stored.output_tokens,
        cache_read_tokens: stored.cache_read_tokens,
        cache_write_tokens: stored.cache_write_tokens,
        cost_usd: stored.cost_usd,
        cost_is: cost_is_of(stored.cost_is)?,
    }))
}
