//! The home of runs: names, listings and what a person may call a run.

mod facts;

use std::os::unix::fs::PermissionsExt;

use raddle_engine::ports::{Journal, JournalError};
use raddle_journal::{Health, Home, ResolveError, RunId, RunMeta};
use raddle_kernel::Time;

use facts::notes;

const MONDAY: Time = Time(1_770_000_000_000);

#[test]
fn runs_are_listed_newest_first_and_found_by_what_people_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path().join("state/raddle"));
    assert!(home.list().expect("an empty listing").is_empty());
    assert!(matches!(home.resolve("last"), Err(ResolveError::NotFound)));
    assert!(!home.path().exists(), "looking makes nothing");

    let meta = RunMeta { workflow: "nightly".into(), created_at: MONDAY.0, ..RunMeta::default() };
    let mut noise = 0;
    let mut begin = |at: u64| {
        let mut chance = || {
            noise += 9;
            noise
        };
        let (id, mut journal) = home.create_new(Time(MONDAY.0 + at), &mut chance, meta.clone()).expect("a new run");
        journal.append(&notes(1..=1)).expect("room");
        (id, journal)
    };
    let (first, _) = begin(0);
    let (last, live) = begin(40_000_000);
    let (second, _) = begin(1);

    // Not runs: a stranger's folder, a file, and a run that was killed before its first record.
    let runs = home.path().join("runs");
    std::fs::create_dir(runs.join("lost+found")).expect("a folder");
    std::fs::write(runs.join("notes.txt"), "").expect("a file");
    let stillborn = RunId::new(Time(MONDAY.0 * 2), 0);
    drop(home.create(&stillborn, RunMeta::default()).expect("a new run"));
    std::fs::write(home.run_folder(&stillborn).join("warden.lock"), "").expect("a file");
    std::fs::create_dir(home.run_folder(&stillborn).join("logs")).expect("a folder");
    assert!(matches!(home.open_owner(&stillborn), Err(JournalError::NotFound)));

    let listed = home.list().expect("a listing");
    assert_eq!(
        listed.iter().map(|e| (e.id, e.live)).collect::<Vec<_>>(),
        [(last, true), (second, false), (first, false)]
    );
    assert!(listed.iter().all(|e| e.health == Health::Ok && e.meta.as_ref() == Some(&meta)));
    assert!(home.owner(&last).is_some_and(|by| by.contains(&std::process::id().to_string())));

    assert_eq!(home.resolve("last").expect("a run"), last);
    assert_eq!(home.resolve(first.as_str()).expect("a run"), first);
    assert_eq!(home.resolve(&first.as_str()[..8]).expect("a run"), first);
    assert!(matches!(home.resolve(&first.as_str()[..2]), Err(ResolveError::Ambiguous(runs)) if runs.len() == 3));
    for nothing in ["", "zzzz", "zzzzzzzzzzz", "../../etc", "LAST", stillborn.as_str()] {
        assert!(matches!(home.resolve(nothing), Err(ResolveError::NotFound)), "{nothing}");
    }
    assert!(matches!(home.remove(&last), Err(JournalError::Owned { .. })));
    drop(live);
    home.remove(&last).expect("nobody owns it");
    assert!(matches!(home.remove(&last), Err(JournalError::NotFound)));
    assert_eq!(home.ids().expect("a listing"), [second, first]);

    for private in [home.path(), &runs, &home.run_folder(&first)] {
        assert_eq!(std::fs::metadata(private).expect("a folder").permissions().mode() & 0o777, 0o700);
    }
    for file in std::fs::read_dir(home.run_folder(&first)).expect("a folder") {
        let mode = file.expect("an entry").metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

#[test]
fn the_index_is_only_an_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::open(folder.path());
    let run = RunId::new(MONDAY, 1);
    home.create(&run, RunMeta::default()).expect("a new run").append(&notes(1..=1)).expect("room");
    assert!(matches!(home.create(&run, RunMeta::default()), Err(JournalError::Io { .. })), "names are given once");
    let ended = RunMeta { outcome: Some("succeeded".into()), finished_at: Some(5), ..RunMeta::default() };
    home.set_meta(&run, &ended).expect("room");
    assert_eq!(home.meta(&run), Some(ended));

    for nonsense in ["{", "[]", "{\"workflow\":1}"] {
        std::fs::write(home.run_folder(&run).join("meta.json"), nonsense).expect("a file");
        assert_eq!(home.entry(run).meta, None);
        assert_eq!(home.entry(run).health, Health::Ok);
    }
    std::fs::remove_file(home.run_folder(&run).join("journal.db")).expect("the journal");
    assert_eq!(home.entry(run).health, Health::Quarantined("the journal is missing".into()));
    assert_eq!(home.ids().expect("a listing"), [run], "a run that lost its journal does not vanish");
}
