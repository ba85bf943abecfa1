//! Prints what a journal costs here: appends by batch size beside bare SQLite with one row per event, creation,
//! replay. It judges nothing; compare the columns of one run.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::path::Path;
use std::time::{Duration, Instant};

use raddle_engine::fact::{Fact, OutputRef, Record};
use raddle_engine::ports::Journal;
use raddle_journal::{Home, RunId, RunMeta};
use raddle_kernel::{Attempt, TaskIx, Time};

const ROUND: Duration = Duration::from_millis(400);
const ROUNDS: usize = 5;

fn record(seq: u64) -> Record {
    let (task, attempt) = (TaskIx((seq / 2) as u32), Attempt(1));
    let fact = match seq % 2 {
        1 => Fact::AttemptStarted { task, attempt },
        _ => Fact::AttemptSucceeded {
            task,
            attempt,
            output: OutputRef::Inline("null".into()),
            usage: None,
            session: None,
        },
    };
    Record { seq, at: Time(1_770_000_000_000 + seq / 3), fact }
}

fn ours(home: &Home, run: u32, batch: u64) -> f64 {
    let mut journal = home.create(&RunId::new(Time(1_770_000_000_000), run), RunMeta::default()).unwrap();
    journal.append(&[record(1)]).unwrap();
    let (begin, mut events) = (Instant::now(), 0);
    while begin.elapsed() < ROUND {
        let first = journal.last_seq() + 1;
        let records: Vec<Record> = (first..first + batch).map(record).collect();
        journal.append(&records).unwrap();
        events += batch;
    }
    events as f64 / begin.elapsed().as_secs_f64()
}

fn bare(folder: &Path, name: &str, batch: u64) -> f64 {
    let db = rusqlite::Connection::open(folder.join(name)).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;CREATE TABLE ev(seq INTEGER PRIMARY KEY,body BLOB NOT NULL)",
    )
    .unwrap();
    let mut statement = db.prepare("INSERT INTO ev VALUES(?1,?2)").unwrap();
    let body = [7u8; 200];
    let (begin, mut events) = (Instant::now(), 0i64);
    while begin.elapsed() < ROUND {
        db.execute_batch("BEGIN").unwrap();
        for _ in 0..batch {
            events += 1;
            statement.execute(rusqlite::params![events, &body[..]]).unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
    }
    events as f64 / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

fn main() {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir_in(".").unwrap(),
    };
    let home = Home::open(folder.path());
    let mut run = 0;
    let mut next = || {
        run += 1;
        run
    };
    println!("{:>8} {:>16} {:>16} {:>7}", "batch", "journal ev/s", "bare SQLite ev/s", "ratio");
    for batch in [1, 10, 100, 1000] {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            a.push(ours(&home, next(), batch));
            b.push(bare(folder.path(), &format!("bare{}", next()), batch));
        }
        let (a, b) = (median(a), median(b));
        println!("{batch:>8} {a:>16.0} {b:>16.0} {:>7.2}", a / b);
    }

    let (mut creation, mut second, mut closing) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..40 {
        let begin = Instant::now();
        let id = RunId::new(Time(1_770_000_000_000), next());
        let mut journal = home.create(&id, RunMeta::default()).unwrap();
        journal.append(&[record(1)]).unwrap();
        creation.push(ms(begin));
        let begin = Instant::now();
        journal.append(&[record(2)]).unwrap();
        second.push(ms(begin));
        let begin = Instant::now();
        drop(journal);
        closing.push(ms(begin));
    }
    println!(
        "create + first append {:.2} ms, second append {:.2} ms, close {:.2} ms",
        median(creation),
        median(second),
        median(closing)
    );

    for (total, batch) in [(20_000u64, 2u64), (100_000, 1), (100_000, 100)] {
        let id = RunId::new(Time(1_780_000_000_000), next());
        let mut journal = home.create(&id, RunMeta::default()).unwrap();
        for first in (1..=total).step_by(batch as usize) {
            journal.append(&(first..first + batch).map(record).collect::<Vec<_>>()).unwrap();
        }
        drop(journal);
        let bytes = std::fs::metadata(home.run_folder(&id).join("journal.db")).unwrap().len();
        let begin = Instant::now();
        let mut journal = home.open_owner(&id).unwrap();
        let opening = ms(begin);
        let begin = Instant::now();
        let mut seen = 0;
        journal.replay(&mut |_| seen += 1).unwrap();
        let replay = ms(begin);
        assert_eq!(seen, total);
        let begin = Instant::now();
        journal.append(&[record(total + 1)]).unwrap();
        println!(
            "{total} records in batches of {batch}: open {opening:.2} ms, replay {replay:.1} ms, next append {:.2} ms, \
             {:.1} bytes an event",
            ms(begin),
            bytes as f64 / total as f64
        );
    }
    let begin = Instant::now();
    let runs = home.list().unwrap().len();
    println!("list of {runs} runs {:.1} ms", ms(begin));
}
