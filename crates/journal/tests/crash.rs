//! Owners that are killed and disks that are full, with real processes: nothing that was acknowledged is lost. The
//! child processes are this test program itself, told by the environment what to be.
#![allow(clippy::print_stdout, reason = "a child process acknowledges on its standard output")]

mod facts;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use raddle_engine::fact::OutputRef;
use raddle_engine::ports::{Journal, JournalError};
use raddle_journal::{Health, Home, RunId, RunMeta};
use raddle_kernel::Time;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use facts::{heavy, note, notes};

const HOME: &str = "RADDLE_TEST_HOME";

fn run_id() -> RunId {
    RunId::new(Time(1_770_000_000_000), 1)
}

fn home_of_child() -> Option<Home> {
    std::env::var_os(HOME).map(|path| Home::open(PathBuf::from(path)))
}

/// Not a test by itself: appends and acknowledges on stdout until it is killed.
#[test]
fn child_that_appends() {
    let Some(home) = home_of_child() else { return };
    let mut journal = match home.open_owner(&run_id()) {
        Err(JournalError::NotFound) => home.create(&run_id(), RunMeta::default()).expect("a new run"),
        other => other.expect("a free run"),
    };
    journal.replay(&mut |_| {}).expect("a sound journal");
    loop {
        let next = journal.last_seq() + 1;
        journal.append(&notes(next..=next + next % 7)).expect("room");
        println!("\nacknowledged {}", journal.last_seq());
    }
}

#[test]
fn killed_owners_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path());
    let mut epoch = 0;
    for round in 1..=8 {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_that_appends", "--nocapture"])
            .env(HOME, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut acknowledged = 0;
        let mut count = 0;
        for line in BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok) {
            if let Some(seq) = line.strip_prefix("acknowledged ") {
                acknowledged = seq.parse().expect("a number");
                count += 1;
            }
            if count == 1 {
                assert!(home.is_live(&run_id()));
                assert!(matches!(home.open_owner(&run_id()), Err(JournalError::Owned { by })
                    if by == format!("process {}", child.id())));
            }
            if count == round * 5 {
                child.kill().expect("a child to kill");
            }
        }
        child.wait().expect("the child's end");
        assert!(!home.is_live(&run_id()));
        let mut read = Vec::new();
        let last = home.open_reader(&run_id()).expect("a run").read(&mut |r| read.push(r)).expect("a sound journal");
        assert!(last >= acknowledged, "{last} of {acknowledged}");
        assert_eq!(read, notes(1..=last));
        let mut owner = home.open_owner(&run_id()).expect("a free run");
        let mut replayed = Vec::new();
        owner.replay(&mut |r| replayed.push(r)).expect("a sound journal");
        assert_eq!(replayed, read);
        assert!(owner.epoch() > epoch);
        epoch = owner.epoch();
        owner.append(&[note(last + 1)]).expect("room");
    }
}

/// A reader follows an owner that is writing, and the owner's files stay as they are.
#[test]
fn a_reader_follows_an_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path());
    let mut owner = home.create(&run_id(), RunMeta::default()).expect("a new run");
    assert!(matches!(home.open_reader(&run_id()), Err(JournalError::NotFound)));
    owner.append(&notes(1..=2)).expect("room");
    let mut reader = home.open_reader(&run_id()).expect("a run");
    let mut read = Vec::new();
    assert_eq!(reader.read(&mut |r| read.push(r)).expect("a sound journal"), 2);
    for next in 3..500 {
        owner.append(&[note(next)]).expect("room");
        if next % 5 == 0 {
            assert_eq!(reader.read(&mut |r| read.push(r)).expect("a sound journal"), next);
        }
    }
    drop(owner);
    assert_eq!(reader.read(&mut |r| read.push(r)).expect("a sound journal"), 499);

    // A reader of a run at rest leaves nothing behind, and notices when the run goes on.
    drop(reader);
    drop(home.open_owner(&run_id()).expect("a free run"));
    let files = || {
        let mut names: Vec<_> = std::fs::read_dir(home.run_folder(&run_id()))
            .expect("the folder")
            .map(|e| e.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(files(), ["journal.db", "meta.json", "owner.lock"]);
    let mut reader = home.open_reader(&run_id()).expect("a run");
    read.clear();
    assert_eq!(reader.read(&mut |r| read.push(r)).expect("a sound journal"), 499);
    assert_eq!(files(), ["journal.db", "meta.json", "owner.lock"]);
    let mut owner = home.open_owner(&run_id()).expect("a free run");
    owner.append(&[note(500)]).expect("room");
    assert_eq!(reader.read(&mut |r| read.push(r)).expect("a sound journal"), 500);
    assert_eq!(read, notes(1..=500));
}

/// Owners that come and go move records from the log into the database under a reader's feet. It never takes that
/// for damage, and a listing never shows it as such.
#[test]
fn readers_are_not_confused_by_owners_that_come_and_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path());
    home.create(&run_id(), RunMeta::default()).expect("a new run").append(&[note(1)]).expect("room");
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..60 {
                let mut owner = home.open_owner(&run_id()).expect("nobody else owns it");
                for _ in 0..3 {
                    owner.append(&[note(owner.last_seq() + 1)]).expect("room");
                }
            }
            ended.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut last = 0;
        while !ended.load(std::sync::atomic::Ordering::Acquire) {
            let mut read = Vec::new();
            let mut reader = home.open_reader(&run_id()).expect("a run");
            let seq = reader.read(&mut |r| read.push(r)).expect("a sound journal");
            assert!(seq >= last, "{seq} after {last}");
            last = reader.read(&mut |r| read.push(r)).expect("a sound journal");
            assert_eq!(read, notes(1..=last));
            assert_eq!(home.entry(run_id()).health, Health::Ok);
        }
    });
}

/// Not a test by itself: lives on a disk that gets full and has room again. File sizes are limited, which the system
/// reports in the same places as a full disk.
#[test]
fn child_on_a_full_disk() {
    let Some(home) = home_of_child() else { return };
    let limit = |bytes| {
        let old = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum: old.maximum }).expect("a limit of one's own");
    };
    let mut journal = home.create(&run_id(), RunMeta::default()).expect("a new run");

    limit(Some(3000));
    let refused = journal.append(&notes(1..=2));
    assert!(matches!(refused, Err(JournalError::Io { .. })), "{refused:?}");
    assert_eq!(journal.last_seq(), 0);
    limit(None);
    journal.append(&notes(1..=2)).expect("room again");

    limit(Some(150_000));
    let refused = loop {
        let next = journal.last_seq() + 1;
        if let Err(e) = journal.append(&[heavy(next, 5000), note(next + 1)]) {
            break e;
        }
        assert!(next < 1000, "the limit has no effect");
    };
    assert!(matches!(refused, JournalError::Io { .. }), "{refused:?}");
    let acknowledged = journal.last_seq();
    assert!(acknowledged > 2);
    let big: Arc<str> = "x".repeat(200_000).into();
    let refused = journal.store(big.clone());
    assert!(matches!(refused, Err(JournalError::Io { .. })), "{refused:?}");
    let left = std::fs::read_dir(home.run_folder(&run_id()).join("outputs")).expect("the folder").count();
    assert_eq!(left, 0, "half an output was left");
    let count = |journal: &mut dyn Journal| {
        let mut count = 0;
        journal.replay(&mut |_| count += 1).expect("a sound journal");
        count
    };
    assert_eq!(count(&mut journal), acknowledged);

    limit(None);
    let output = journal.store(big.clone()).expect("room again");
    assert!(matches!(output, OutputRef::Stored { .. }));
    journal.append(&[note(acknowledged + 1)]).expect("room again");
    assert_eq!(count(&mut journal), acknowledged + 1);
    drop(journal);
    let mut journal = home.open_owner(&run_id()).expect("a free run");
    assert_eq!(count(&mut journal), acknowledged + 1);
    assert_eq!(journal.load(&output).expect("the output"), big);
}

#[test]
fn a_full_disk_costs_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    // The signal for files that grow too big is ignored by a shell that becomes the child.
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact child_on_a_full_disk"])
        .arg(std::env::current_exe().expect("this program"))
        .env(HOME, folder.path())
        .output()
        .expect("a child");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(Home::open(folder.path()).open_reader(&run_id()).is_ok(), "the child did nothing");
}
