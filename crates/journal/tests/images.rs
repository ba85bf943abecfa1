//! Images of a journal's files as power cuts, dying disks and careless tools leave them: whatever is read is a true
//! beginning at least as long as what was acknowledged, or the damage is told. `RADDLE_IMAGES=20000` makes that many;
//! `RADDLE_SEED=N` makes others.
//!
//! A power cut keeps what was synced and any part of the sectors that were written since. Rot changes anything.

#![expect(clippy::print_stdout, reason = "a test that tells what it met")]

mod facts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use raddle_engine::ports::{Journal, JournalError};
use raddle_journal::{Home, RunId, RunMeta};
use raddle_kernel::Time;

use facts::{heavy, note};

const SECTOR: usize = 512;
const FILES: [&str; 3] = ["journal.db", "journal.db-wal", "owner.lock"];

/// xorshift64*.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % n.max(1) as u64) as usize
    }
}

/// The files at a moment; a file that is not there is `None`.
#[derive(Clone)]
struct Image {
    files: [Option<Vec<u8>>; 3],
    /// Records that were acknowledged then.
    acknowledged: u64,
}

impl Image {
    fn of(folder: &Path, acknowledged: u64) -> Image {
        Image { files: FILES.map(|name| std::fs::read(folder.join(name)).ok()), acknowledged }
    }

    fn put(&self, folder: &Path) {
        let _ = std::fs::remove_file(folder.join("journal.db-shm"));
        for (name, bytes) in FILES.iter().zip(&self.files) {
            let path = folder.join(name);
            match bytes {
                Some(bytes) => std::fs::write(path, bytes).expect("a file can be written"),
                None => drop(std::fs::remove_file(path)),
            }
        }
    }
}

fn record(seq: u64) -> raddle_engine::fact::Record {
    // Now and then a record of several pages.
    if seq.is_multiple_of(13) { heavy(seq, 9000) } else { note(seq) }
}

/// A run's files after every acknowledged batch, by two owners, the first of which was killed.
fn moments(folder: &Path, home: &Home, run: &RunId) -> Vec<Image> {
    let mut moments = Vec::new();
    let mut owner = home.create(run, RunMeta::default()).expect("a new run");
    let mut batch = |owner: &mut raddle_journal::SqliteJournal, size: u64| {
        let first = owner.last_seq() + 1;
        owner.append(&(first..first + size).map(record).collect::<Vec<_>>()).expect("room");
        moments.push(Image::of(folder, owner.last_seq()));
    };
    for n in 0..24 {
        batch(&mut owner, 1 + n % 4);
    }
    // The log is moved into the database on the way.
    owner.reopen().expect("nothing is wrong");
    for n in 0..12 {
        batch(&mut owner, 1 + n % 3);
    }
    drop(owner);
    let mut owner = home.open_owner(run).expect("nobody owns the run");
    for n in 0..12 {
        batch(&mut owner, 1 + n % 5);
    }
    drop(owner);
    let last = moments.last().expect("there were batches").acknowledged;
    moments.push(Image::of(folder, last));
    moments
}

/// What a power cut between two moments leaves: of every sector that differs, the old or the new content; of a file that
/// grew, any length in between. The note of the owner is never younger than what was synced.
fn power_cut(before: &Image, after: &Image, chance: &mut Chance) -> Image {
    let mut cut = before.clone();
    for (i, (old, new)) in before.files.iter().zip(&after.files).enumerate().take(2) {
        let (Some(old), Some(new)) = (old, new) else { continue };
        if new.len() < old.len() {
            continue;
        }
        let likely = 1 + chance.below(4);
        let mut bytes = old.clone();
        let length = old.len() + chance.below(new.len() - old.len() + 1);
        bytes.resize(length, 0);
        for at in (0..length).step_by(SECTOR) {
            let end = (at + SECTOR).min(length);
            if chance.below(4) < likely {
                bytes[at..end].copy_from_slice(&new[at..end]);
            }
        }
        cut.files[i] = Some(bytes);
    }
    cut
}

/// Bits that flip, sectors that are zeroed or exchanged, files that are cut.
fn rot(image: &Image, chance: &mut Chance) -> (Image, &'static str) {
    let mut rotten = image.clone();
    let sizes: Vec<usize> = image.files.iter().take(2).map(|f| f.as_ref().map_or(0, Vec::len)).collect();
    let file = if chance.below(sizes[0] + sizes[1]) < sizes[0] { 0 } else { 1 };
    let Some(bytes) = rotten.files[file].as_mut().filter(|bytes| !bytes.is_empty()) else { return (rotten, "nothing") };
    let sectors = bytes.len().div_ceil(SECTOR);
    let sector = |n: usize, length: usize| n * SECTOR..((n + 1) * SECTOR).min(length);
    let length = bytes.len();
    let how = match chance.below(5) {
        0 => {
            for _ in 0..=chance.below(8) {
                bytes[chance.below(length)] ^= 1 << chance.below(8);
            }
            "flipped"
        }
        1 => {
            bytes.truncate(chance.below(length));
            "truncated"
        }
        2 => {
            bytes[sector(chance.below(sectors), length)].fill(0);
            "zeroed"
        }
        3 => {
            let (a, b) = (chance.below(sectors), chance.below(sectors));
            let kept = bytes[sector(a, length)].to_vec();
            let moved = bytes[sector(b, length)].to_vec();
            let n = kept.len().min(moved.len());
            bytes[a * SECTOR..a * SECTOR + n].copy_from_slice(&moved[..n]);
            bytes[b * SECTOR..b * SECTOR + n].copy_from_slice(&kept[..n]);
            "exchanged"
        }
        _ => {
            rotten.files[file] = None;
            "lost"
        }
    };
    (rotten, how)
}

#[test]
fn every_image_reads_to_what_was_acknowledged_or_is_told_to_be_damaged() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (wanted, seed) = (number("RADDLE_IMAGES", 1500), number("RADDLE_SEED", 1));
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    // In memory where that is possible: the images are about what files hold, not about how slowly.
    let shm = Path::new("/dev/shm");
    let place = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.expect("a folder");
    let (home, run) = (Home::open(place.path()), RunId::new(Time(1_770_000_000_000), 1));
    let folder: PathBuf = home.run_folder(&run);
    let moments = moments(&folder, &home, &run);
    let mut met: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for n in 0..wanted {
        let at = chance.below(moments.len() - 1);
        let (image, how) = match chance.below(2) {
            0 => {
                let mut cut = power_cut(&moments[at], &moments[at + 1], &mut chance);
                // The note is not synced: an older one may be there.
                let older = chance.below(at + 1);
                cut.files[2].clone_from(&moments[older].files[2]);
                (cut, "power cut")
            }
            _ => rot(&moments[1 + chance.below(moments.len() - 1)], &mut chance),
        };
        image.put(&folder);
        let told = |what: &str| -> ! { panic!("RADDLE_SEED={seed}, image {n}, {how} at moment {at}: {what}") };
        let mut records = Vec::new();
        let read = home.open_reader(&run).and_then(|mut reader| reader.read(&mut |r| records.push(r)));
        let expected: Vec<_> = (1..=records.len() as u64).map(record).collect();
        if records != expected {
            told("what is read was never written");
        }
        let verdict = match &read {
            Ok(last) if *last >= image.acknowledged => "whole",
            Ok(last) => told(&format!("{last} of {} records, and nobody says so", image.acknowledged)),
            Err(JournalError::Damaged { .. } | JournalError::UnknownVersion { .. }) => "told",
            Err(JournalError::NotFound) if image.files[0].is_none() => "told",
            Err(e) => told(&format!("{e:?}")),
        };
        if how == "power cut" && verdict == "told" {
            told(&format!("a power cut is no damage: {read:?}"));
        }
        // Whoever takes the run over sees the same or refuses; sound images go on.
        match home.open_owner(&run).and_then(|mut owner| owner.replay(&mut |_| {}).map(|()| owner)) {
            Ok(mut owner) => {
                if verdict == "told" && owner.last_seq() < image.acknowledged {
                    told("an owner takes it for whole");
                }
                let next = owner.last_seq() + 1;
                owner.append(&[record(next)]).unwrap_or_else(|e| told(&format!("it cannot go on: {e}")));
            }
            Err(JournalError::Damaged { .. } | JournalError::UnknownVersion { .. } | JournalError::NotFound) => {
                if verdict == "whole" {
                    told("an owner refuses what can be read");
                }
                // What can be read of it can be kept.
                if let Ok(salvage) = home.salvage(&run, None, Time(0)) {
                    let mut kept = Vec::new();
                    let read = home.open_reader(&run).and_then(|mut reader| reader.read(&mut |r| kept.push(r)));
                    if read.is_err() || kept.len() as u64 != salvage.records + 1 || kept.len() <= records.len() {
                        told(&format!("salvaged to {} records of {}: {read:?}", kept.len(), records.len()));
                    }
                    *met.entry((how, "salvaged")).or_default() += 1;
                    std::fs::remove_dir_all(&salvage.damaged).expect("the damaged journal is kept");
                }
            }
            Err(e) => told(&format!("{e:?}")),
        }
        *met.entry((how, verdict)).or_default() += 1;
    }
    println!("{wanted} images: {met:?}");
    assert!(met.len() >= 8 || wanted < 500, "{met:?}");
}
