//! What becomes of a journal whose files have been hurt: damage is seen or a clean beginning is served, never
//! anything else, and never a panic.

mod facts;

use std::path::PathBuf;

use raddle_engine::fact::Record;
use raddle_engine::ports::{Journal, JournalError};
use raddle_journal::{Health, Home, RunId, RunMeta};
use raddle_kernel::Time;

use facts::notes;

const BATCHES: [std::ops::RangeInclusive<u64>; 4] = [1..=2, 3..=3, 4..=8, 9..=9];

struct Hurt {
    home: Home,
    run: RunId,
    _folder: tempfile::TempDir,
}

impl Hurt {
    /// A small run that was ended in good order.
    fn closed() -> Hurt {
        let folder = tempfile::tempdir().expect("a folder");
        let (home, run) = (Home::open(folder.path()), RunId::new(Time(0), 1));
        let mut journal = home.create(&run, RunMeta::default()).expect("a new run");
        BATCHES.into_iter().for_each(|batch| journal.append(&notes(batch)).expect("room"));
        Hurt { home, run, _folder: folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.run_folder(&self.run).join(name)
    }

    fn read(&self) -> (Vec<Record>, Result<(), JournalError>) {
        let mut records = Vec::new();
        let result = self.home.open_reader(&self.run).and_then(|mut r| r.read(&mut |r| records.push(r)));
        (records, result.map(drop))
    }

    /// Reads what is left and holds it against the law. True when damage was reported.
    fn is_seen(&self, how: &str) -> bool {
        let (records, result) = self.read();
        assert_eq!(records, notes(1..=records.len() as u64), "{how}");
        let at_boundary = records.is_empty() || BATCHES.iter().any(|b| *b.end() == records.len() as u64);
        assert!(at_boundary, "{how}: {} records", records.len());
        match result {
            Ok(()) => false,
            Err(JournalError::Damaged { after, .. }) => {
                assert_eq!(after, records.len() as u64, "{how}");
                true
            }
            // The number of the layout itself was hurt.
            Err(JournalError::UnknownVersion { .. }) => true,
            Err(e) => panic!("{how}: {e:?}"),
        }
    }

    /// The same through the owner's door.
    fn owner_sees_it_too(&self, how: &str) {
        let mut records = Vec::new();
        let replayed = self.home.open_owner(&self.run).and_then(|mut j| {
            let replayed = j.replay(&mut |r| records.push(r));
            if let Err(JournalError::Damaged { .. }) = &replayed {
                let next = facts::note(j.last_seq() + 1);
                assert!(j.append(&[next]).is_err(), "{how}: a damaged journal was written on");
            }
            replayed
        });
        assert_eq!(records, notes(1..=records.len() as u64), "{how}");
        let told = matches!(replayed, Err(JournalError::Damaged { .. } | JournalError::UnknownVersion { .. }));
        assert!(told || replayed.is_ok(), "{how}: {replayed:?}");
    }
}

#[test]
fn every_flipped_byte_is_seen_or_harmless() {
    let run = Hurt::closed();
    let whole = std::fs::read(run.file("journal.db")).expect("the journal");
    let mut seen = 0;
    for i in 0..whole.len() {
        let mask = if i % 3 == 0 { 0xff } else { 1 << (i % 8) };
        let mut hurt = whole.clone();
        hurt[i] ^= mask;
        std::fs::write(run.file("journal.db"), &hurt).expect("the journal");
        let how = format!("byte {i} ^ {mask:#x}");
        seen += u32::from(run.is_seen(&how));
        if i % 64 == 0 {
            run.owner_sees_it_too(&how);
            let _ = std::fs::remove_file(run.file("journal.db-wal"));
        }
    }
    assert!(seen > 200, "{seen}");
}

#[test]
fn every_cut_is_seen() {
    let run = Hurt::closed();
    let whole = std::fs::read(run.file("journal.db")).expect("the journal");
    for length in 0..whole.len() {
        std::fs::write(run.file("journal.db"), &whole[..length]).expect("the journal");
        assert!(run.is_seen(&format!("cut at {length}")), "cut at {length}");
    }
    std::fs::write(run.file("journal.db"), &whole).expect("the journal");
    assert!(!run.is_seen("whole again"));
    assert_eq!(run.read().0, notes(1..=9));
}

/// A run that was killed leaves its last batches in the write-ahead log.
#[test]
fn every_cut_and_flip_of_the_log_leaves_a_clean_beginning() {
    let run = Hurt::closed();
    let mut owner = run.home.open_owner(&run.run).expect("the run is free");
    let killed = RunId::new(Time(0), 2);
    owner.append(&notes(10..=10)).expect("room");
    owner.append(&notes(11..=12)).expect("room");
    std::fs::create_dir(run.home.run_folder(&killed)).expect("a folder");
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(run.file(name), run.home.run_folder(&killed).join(name)).expect("a copy");
    }
    let log_path = run.home.run_folder(&killed).join("journal.db-wal");
    let log = std::fs::read(&log_path).expect("the log");
    let mut lengths = std::collections::BTreeSet::new();
    let mut hurt_log = |bytes: &[u8], how: String| {
        std::fs::write(&log_path, bytes).expect("the log");
        let mut records = Vec::new();
        let read = run.home.open_reader(&killed).and_then(|mut r| r.read(&mut |r| records.push(r)));
        assert_eq!(records, notes(1..=records.len() as u64), "{how}");
        assert!(matches!(read, Ok(_) | Err(JournalError::Damaged { .. })), "{how}: {read:?}");
        if read.is_ok() {
            lengths.insert(records.len());
        }
    };
    for i in (0..log.len()).step_by(3) {
        hurt_log(&log[..i], format!("cut at {i}"));
        let mut flipped = log.clone();
        flipped[i] ^= 0x10;
        hurt_log(&flipped, format!("flip at {i}"));
    }
    hurt_log(&log, "whole".into());
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [9, 10, 12]);
}

/// Garbage over all files of one run: it is quarantined and cannot be resumed; the others do not notice.
#[test]
fn a_run_full_of_garbage_is_quarantined_and_stops_nobody() {
    let run = Hurt::closed();
    let sound = RunId::new(Time(0), 0x7000);
    run.home.create(&sound, RunMeta::default()).expect("a new run").append(&notes(1..=1)).expect("room");
    std::fs::write(run.file("journal.db-wal"), "").expect("a file");
    for (salt, file) in std::fs::read_dir(run.home.run_folder(&run.run)).expect("the folder").enumerate() {
        let mut garbage = blake3::Hasher::new().update(&[salt as u8]).finalize_xof();
        let mut bytes = vec![0; 20_000];
        garbage.fill(&mut bytes);
        std::fs::write(file.expect("an entry").path(), bytes).expect("a file");
    }
    let listed = run.home.list().expect("a listing");
    assert_eq!(listed.iter().map(|e| e.id).collect::<Vec<_>>(), [sound, run.run]);
    assert_eq!(listed[0].health, Health::Ok);
    assert!(matches!(&listed[1].health, Health::Quarantined(_)), "{:?}", listed[1]);
    assert!(!listed[1].live && listed[1].meta.is_none());
    assert!(matches!(run.home.open_owner(&run.run), Err(JournalError::Damaged { .. })));
}

/// Tampering that keeps SQLite happy is still seen: the chain does not fit.
#[test]
fn rewritten_history_is_seen() {
    for tamper in [
        "UPDATE batch SET payload=(SELECT payload FROM batch WHERE n=4) WHERE n=2",
        "UPDATE batch SET epoch=epoch+1 WHERE n=4",
        "UPDATE batch SET version=2 WHERE n=3",
        "UPDATE batch SET first='4' || '' , count=4 WHERE n=3",
        "DELETE FROM batch WHERE n=3",
        "DELETE FROM batch WHERE n=1",
        "DELETE FROM batch",
        "UPDATE batch SET n=9 WHERE n=4",
        "CREATE TABLE more(a)",
        "CREATE TRIGGER t AFTER INSERT ON batch BEGIN DELETE FROM batch; END",
    ] {
        let run = Hurt::closed();
        let db = rusqlite::Connection::open(run.file("journal.db")).expect("a database");
        db.execute_batch(tamper).expect("a change");
        drop(db);
        assert!(run.is_seen(tamper), "{tamper}");
        let owned = run.home.open_owner(&run.run).and_then(|mut j| j.replay(&mut |_| {}));
        assert!(matches!(owned, Err(JournalError::Damaged { .. })), "{tamper}: {owned:?}");
    }
}

/// An output that was changed on disk is refused, and is made whole by whoever stores it again.
#[test]
fn changed_outputs_are_refused_until_stored_again() {
    let run = Hurt::closed();
    let text: std::sync::Arc<str> = "o".repeat(5000).into();
    let mut journal = run.home.open_owner(&run.run).expect("the run is free");
    let output = journal.store(text.clone()).expect("room");
    let files: Vec<_> = std::fs::read_dir(run.file("outputs")).expect("the folder").collect();
    let [Ok(file)] = &files[..] else { panic!("{files:?}") };
    for hurt in ["o".repeat(4999) + "p", "o".repeat(4999), "o".repeat(5001), String::new()] {
        std::fs::write(file.path(), hurt).expect("the file");
        assert!(matches!(journal.load(&output), Err(JournalError::Damaged { .. })));
        drop(journal);
        journal = run.home.open_owner(&run.run).expect("the run is free");
        assert_eq!(journal.store(text.clone()).expect("room"), output);
        assert_eq!(journal.load(&output).expect("whole again"), text);
    }
}

/// The salvage is killed behind its mark: with the old journal still there, and with nothing of it left.
#[test]
fn a_salvage_that_was_killed_is_made_again_from_the_copy() {
    for is_gone in [false, true] {
        let run = Hurt::closed();
        let folder = run.home.run_folder(&run.run);
        let whole = std::fs::read(run.file("journal.db")).expect("the journal");
        // Nothing is wrong with the records themselves: what they name is gone, and only the first attempt knows it.
        let first = run.home.salvage(&run.run, Some((4, "an output is gone")), Time(0)).expect("it is salvaged");
        let mark = |text: &str| std::fs::write(folder.join("journal.db.salvaging"), text).expect("a mark");
        std::fs::write(run.file("journal.db"), &whole).expect("the old journal");
        if is_gone {
            std::fs::remove_file(run.file("journal.db")).expect("the old journal");
        }
        for foreign in ["", "damaged-1", "..\n4\nx", "damaged-\n4\nx", "damaged-1/..\n4\nx", "damaged-7\n4\nx"] {
            mark(foreign);
            run.home.salvage(&run.run, None, Time(0)).expect_err(foreign);
            assert!(folder.exists() && first.damaged.join("journal.db").exists(), "{foreign:?}");
        }
        mark("damaged-1\n4\nan output is gone");
        run.read().1.expect_err("half salvaged is damaged");
        let again = run.home.salvage(&run.run, None, Time(0)).expect("it is salvaged again");
        assert_eq!(again, first);
        let (records, read) = run.read();
        read.expect("it is sound");
        assert_eq!((&records[..4], records.len()), (&notes(1..=4)[..], 5));
        assert_eq!(std::fs::read(first.damaged.join("journal.db")).expect("it is kept"), whole);
        assert!(!folder.join("journal.db.salvaging").exists());
    }
}
