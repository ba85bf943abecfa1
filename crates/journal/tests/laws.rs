//! The laws of journals, the same for every store. They do not know how a store keeps what it is given.

mod facts;

use std::sync::Arc;

use proptest::prelude::*;
use raddle_engine::fact::{OutputRef, Record};
use raddle_engine::ports::{Journal, JournalError};
use raddle_journal::{Home, MemoryJournal, MemoryStore, RunId, RunMeta, SqliteJournal};
use raddle_kernel::Time;

use facts::{any_records, note, notes};

/// A place in which one run is kept, whoever owns it.
trait Place {
    type Journal: Journal;
    fn new() -> Self;
    /// Creates the run or takes it over.
    fn own(&self) -> Result<Self::Journal, JournalError>;
    /// Makes the run free behind the back of its owner.
    fn usurp(&self);
}

impl Place for MemoryStore {
    type Journal = MemoryJournal;
    fn new() -> Self {
        MemoryStore::default()
    }
    fn own(&self) -> Result<MemoryJournal, JournalError> {
        self.open_owner()
    }
    fn usurp(&self) {
        self.usurp();
    }
}

/// A home with one run in it.
struct OnDisk {
    home: Home,
    run: RunId,
    _folder: tempfile::TempDir,
}

impl Place for OnDisk {
    type Journal = SqliteJournal;
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path().join("state of raddle"));
        OnDisk { home, run: RunId::new(Time(1_770_000_000_000), 7), _folder: folder }
    }
    fn own(&self) -> Result<SqliteJournal, JournalError> {
        if self.home.run_folder(&self.run).exists() {
            self.home.open_owner(&self.run)
        } else {
            self.home.create(&self.run, RunMeta::default())
        }
    }
    fn usurp(&self) {
        std::fs::remove_file(self.home.run_folder(&self.run).join("owner.lock")).expect("the lock of an owner");
    }
}

fn replayed(journal: &mut impl Journal) -> Vec<Record> {
    let mut records = Vec::new();
    journal.replay(&mut |r| records.push(r)).expect("a sound journal");
    records
}

/// What was appended, in whatever batches, is replayed, by this owner and by later ones.
fn appended_is_replayed<P: Place>(batches: &[Vec<Record>]) {
    let place = P::new();
    let mut journal = place.own().expect("a new run");
    assert_eq!(journal.last_seq(), 0);
    assert_eq!(replayed(&mut journal), []);
    let mut all = Vec::new();
    for batch in batches {
        journal.append(batch).expect("room for a batch");
        all.extend_from_slice(batch);
        assert_eq!(journal.last_seq(), all.len() as u64);
    }
    assert_eq!(replayed(&mut journal), all);
    if all.is_empty() {
        return;
    }
    drop(journal);
    let mut journal = place.own().expect("the run is free");
    assert_eq!(journal.last_seq(), all.len() as u64);
    assert_eq!(replayed(&mut journal), all);
}

/// Records that do not continue the journal are refused, all of them, and the right ones are then welcome.
fn gaps_are_refused<P: Place>() {
    let place = P::new();
    let mut journal = place.own().expect("a new run");
    journal.append(&notes(1..=3)).expect("the beginning");
    for wrong in [notes(5..=6), notes(3..=4), vec![note(4), note(6)], vec![note(4), note(4)], vec![note(0)]] {
        let refused = journal.append(&wrong);
        assert!(matches!(refused, Err(JournalError::OutOfStep { .. })), "{wrong:?}: {refused:?}");
    }
    assert_eq!(replayed(&mut journal), notes(1..=3));
    journal.append(&[]).expect("nothing is always possible");
    journal.append(&notes(4..=5)).expect("what comes next");
    assert_eq!(replayed(&mut journal), notes(1..=5));
}

/// One owner at a time; each has a higher epoch than all before, also than those that wrote nothing.
fn one_owner_at_a_time<P: Place>() {
    let place = P::new();
    let mut first = place.own().expect("a new run");
    first.append(&[note(1)]).expect("the beginning");
    assert!(matches!(place.own(), Err(JournalError::Owned { .. })));
    let mut epoch = first.epoch();
    drop(first);
    for _ in 0..3 {
        let silent = place.own().expect("the run is free");
        assert!(silent.epoch() > epoch);
        epoch = silent.epoch();
    }
    let mut last = place.own().expect("the run is free");
    assert!(last.epoch() > epoch);
    assert_eq!(replayed(&mut last), notes(1..=1));
    last.append(&[note(2)]).expect("a later owner writes");
}

/// An owner that lost the run without knowing it can add nothing more, before and after the new one has written.
fn a_stale_owner_is_refused<P: Place>() {
    let place = P::new();
    let mut stale = place.own().expect("a new run");
    stale.append(&[note(1)]).expect("the beginning");
    stale.append(&[note(2)]).expect("more");
    place.usurp();
    let mut owner = place.own().expect("the run looks free");
    assert!(matches!(stale.append(&[note(3)]), Err(JournalError::Owned { .. })));
    owner.append(&[note(3)]).expect("the owner writes");
    assert!(matches!(stale.append(&[note(3)]), Err(JournalError::Owned { .. })));
    assert_eq!(replayed(&mut owner), notes(1..=3));
    drop(stale);
    assert!(matches!(place.own(), Err(JournalError::Owned { .. })), "a stale owner's end frees nothing");
}

/// Outputs of every size come back, from this owner and the next; a reference to nothing is damage.
fn outputs_come_back<P: Place>() {
    let place = P::new();
    let mut journal = place.own().expect("a new run");
    let texts: Vec<Arc<str>> =
        [0, 1, 4096, 4097, 300_000].iter().map(|n| Arc::from("\u{e9}".repeat(n / 2) + &"x".repeat(n % 2))).collect();
    let refs: Vec<OutputRef> = texts.iter().map(|t| journal.store(t.clone()).expect("room for an output")).collect();
    for (output, text) in refs.iter().zip(&texts) {
        assert_eq!(journal.store(text.clone()).expect("it is there already"), *output);
    }
    assert!(matches!(refs[2], OutputRef::Inline(_)) && matches!(refs[3], OutputRef::Stored { bytes: 4097, .. }));
    journal.append(&[note(1)]).expect("the beginning");
    for _ in 0..2 {
        for (output, text) in refs.iter().zip(&texts) {
            assert_eq!(journal.load(output).expect("an output"), *text);
        }
        drop(journal);
        journal = place.own().expect("the run is free");
    }
    let nothing = OutputRef::Stored { digest: [7; 32], bytes: 5000 };
    assert!(matches!(journal.load(&nothing), Err(JournalError::Damaged { .. })));
}

fn batches() -> impl Strategy<Value = Vec<Vec<Record>>> {
    (any_records(40), proptest::collection::vec(1usize..9, 1..12)).prop_map(|(mut records, sizes)| {
        let mut batches = Vec::new();
        for size in sizes {
            let rest = records.split_off(size.min(records.len()));
            batches.push(std::mem::replace(&mut records, rest));
        }
        batches
    })
}

macro_rules! laws_hold {
    ($name:ident, $place:ty, $cases:literal) => {
        mod $name {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig { cases: $cases, failure_persistence: None, ..Default::default() })]
                #[test]
                fn appended_is_replayed(batches in batches()) {
                    super::appended_is_replayed::<$place>(&batches);
                }
            }

            #[test]
            fn batches_of_any_weight_are_replayed() {
                let heavy: Vec<Record> = (1..=40).map(|seq| facts::heavy(seq, 100_000)).collect();
                super::appended_is_replayed::<$place>(&[notes(1..=1), heavy[1..].to_vec()]);
                super::appended_is_replayed::<$place>(&[heavy, notes(41..=41)]);
            }

            #[test]
            fn gaps_are_refused() {
                super::gaps_are_refused::<$place>();
            }

            #[test]
            fn one_owner_at_a_time() {
                super::one_owner_at_a_time::<$place>();
            }

            #[test]
            fn a_stale_owner_is_refused() {
                super::a_stale_owner_is_refused::<$place>();
            }

            #[test]
            fn outputs_come_back() {
                super::outputs_come_back::<$place>();
            }
        }
    };
}

laws_hold!(in_memory, MemoryStore, 64);
laws_hold!(on_disk, OnDisk, 48);

/// The memory store's switch: the append that was asked to fail stores nothing, and the next one works.
#[test]
fn the_nth_append_fails_and_stores_nothing() {
    let store = MemoryStore::new();
    let mut journal = store.open_owner().expect("a new run");
    store.fail_append(2);
    journal.append(&[note(1)]).expect("the first is none of it");
    assert!(matches!(journal.append(&notes(2..=3)), Err(JournalError::Io { .. })));
    assert_eq!((journal.last_seq(), store.records()), (1, notes(1..=1)));
    journal.append(&notes(2..=3)).expect("the failure was one");
}
