//! Journals that were written once and must be readable for ever: one file per version of the record format under
//! `golden/`. A version that has been released never gets another file.

mod facts;

use std::path::Path;

use raddle_engine::attempt::{CostIs, Usage};
use raddle_engine::fact::{Chapter, Fact, OutputRef, Record};
use raddle_engine::ports::Journal;
use raddle_journal::{Home, RunId, RunMeta};
use raddle_kernel::{Attempt, FailureClass, Outcome, TaskIx, Time};

/// One of everything, in three batches.
fn known_records() -> [Vec<Record>; 3] {
    let (task, attempt) = (TaskIx(300), Attempt(2));
    let usage = |cost_is, cost_usd| {
        let tokens = Usage { input_tokens: 1, output_tokens: 200, cache_read_tokens: 30_000, ..Usage::default() };
        Some(Box::new(Usage { cache_write_tokens: u64::MAX, cost_usd, cost_is, ..tokens }))
    };
    let failed = |class, retry_at, exhausted| Fact::AttemptFailed {
        task,
        attempt,
        class,
        message: "it said \u{201e}no\u{201c}\n".into(),
        retry_at,
        usage: usage(CostIs::Reserved, Some(0.25)),
        exhausted,
    };
    let mut first = vec![
        Fact::Started(Box::new(Chapter {
            run: "00000001zzz".into(),
            workflow: "golden".into(),
            hash: "cafe".into(),
            source: "tasks: []\n".into(),
            source_name: "wf.yaml".into(),
            base_dir: "/somewhere".into(),
            inputs: "{}".into(),
            options: "{\"mode\":\"waves\"}".into(),
            version: "0.1.0".into(),
        })),
        Fact::AttemptStarted { task: TaskIx(0), attempt: Attempt(1) },
        Fact::AttemptStarted { task, attempt },
    ];
    first.extend(FailureClass::ALL.map(|class| failed(class, Some(Time(1_770_000_009_999)), false)));
    let second = vec![
        failed(FailureClass::Exit, None, true),
        Fact::AttemptSucceeded {
            task,
            attempt,
            output: OutputRef::Inline("{\"a\":[1,null]}".into()),
            usage: usage(CostIs::Reported, Some(1.5)),
            session: Some("session-1".into()),
        },
        Fact::AttemptSucceeded {
            task,
            attempt,
            output: OutputRef::Stored { digest: [0xab; 32], bytes: 5_000_000_000 },
            usage: usage(CostIs::Priced, None),
            session: None,
        },
        Fact::AttemptSucceeded { task, attempt, output: OutputRef::Inline("".into()), usage: None, session: None },
        Fact::AttemptAbandoned { task, attempt },
        Fact::AttemptDoubted { task, attempt },
        Fact::TaskRetried { task },
        Fact::TaskSkipped { task },
        Fact::TaskAdopted { task, attempt, output: OutputRef::Inline("null".into()) },
        Fact::Denied { task, action: "read".into(), resource: "/etc/shadow".into(), rule: "deny".into() },
        Fact::Cancelled,
    ];
    let mut third = vec![Fact::Resumed { epoch: 2 }, failed(FailureClass::Lost, None, false)];
    third.extend(
        [
            Outcome::Running,
            Outcome::Waiting,
            Outcome::Succeeded,
            Outcome::Degraded,
            Outcome::Failed,
            Outcome::Cancelled,
            Outcome::BudgetExhausted,
        ]
        .map(|outcome| Fact::Finished { outcome }),
    );
    let mut seq = 0;
    [first, second, third].map(|facts| {
        let number = |fact| {
            seq += 1;
            // The clock goes forward, stands still and goes back.
            Record { seq, at: Time(1_770_000_000_000 + [0, 1, 1, 90_000][seq as usize % 4]), fact }
        };
        facts.into_iter().map(number).collect()
    })
}

fn write_known(home: &Home, run: &RunId) {
    let [first, second, third] = known_records();
    let mut journal = home.create(run, RunMeta::default()).expect("a new run");
    journal.append(&first).expect("room");
    journal.append(&second).expect("room");
    drop(journal);
    home.open_owner(run).expect("the run is free").append(&third).expect("room");
}

type StoredRow = (i64, u32, i64, u32, u32, Vec<u8>, Vec<u8>);

fn stored_rows(file: &Path) -> Vec<StoredRow> {
    let db = rusqlite::Connection::open(file).expect("a database");
    let mut rows = db.prepare("SELECT * FROM batch ORDER BY n").expect("our table");
    let row = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?, r.get(6)?));
    rows.query_map([], row).expect("rows").map(|r| r.expect("a row")).collect()
}

#[test]
fn version_1_is_read_and_written_as_ever() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1.db");
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path());
    let (new, old) = (RunId::new(Time(0), 1), RunId::new(Time(0), 2));
    write_known(&home, &new);
    let written = home.run_folder(&new).join("journal.db");
    if std::env::var_os("RADDLE_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::copy(&written, &golden).expect("a writable checkout");
    }
    std::fs::create_dir(home.run_folder(&old)).expect("a folder");
    std::fs::copy(&golden, home.run_folder(&old).join("journal.db")).expect("the golden file");

    let mut read = Vec::new();
    home.open_owner(&old).expect("an old run").replay(&mut |r| read.push(r)).expect("an old journal");
    assert_eq!(read, known_records().concat());
    assert_eq!(stored_rows(&written), stored_rows(&home.run_folder(&old).join("journal.db")));
}
