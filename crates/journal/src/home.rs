//! The place of all runs: a folder per run, found by name. One run's damage is one run's: it never keeps the others
//! from being listed. It does not know what is in a journal.

use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use raddle_engine::ports::JournalError;
use raddle_kernel::Time;

use crate::lock;
use crate::meta::{self, RunMeta};
use crate::outputs;
use crate::run_id::{RunId, is_prefix};
use crate::sqlite::{self, Reader, Salvage, SqliteJournal, io};

/// How many names are tried for a new run before something must be wrong with the noise.
const TRIES: usize = 16;

/// How many candidates an ambiguous name is answered with.
const SHOWN: usize = 5;

/// The state folder of raddle.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
}

/// A run as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEntry {
    /// Its name.
    pub id: RunId,
    /// Whether an engine owns it now.
    pub live: bool,
    /// Whether its journal can be read, as far as a glance at the end of it tells.
    pub health: Health,
    /// The index beside the journal; `None` when it is missing or unreadable, which is no fault: the records know.
    pub meta: Option<RunMeta>,
}

/// Whether a journal is fit for use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nothing wrong was seen.
    Ok,
    /// It cannot be read, for this reason; it is listed and otherwise left alone.
    Quarantined(String),
}

/// Why a name does not lead to a run.
#[derive(Debug)]
pub enum ResolveError {
    /// No run has that name or begins like that.
    NotFound,
    /// Several do; the newest of them.
    Ambiguous(Vec<RunId>),
    /// The runs cannot be listed.
    Io(std::io::Error),
}

impl Home {
    /// The home at that path. Nothing is made before the first run is.
    pub fn open(path: impl Into<PathBuf>) -> Home {
        Home { path: path.into() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of a run, whether it exists or not.
    pub fn run_folder(&self, run: &RunId) -> PathBuf {
        self.runs().join(run.as_str())
    }

    fn runs(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// Creates a run of that name, owned by this process. The name must be new.
    pub fn create(&self, run: &RunId, meta: RunMeta) -> Result<SqliteJournal, JournalError> {
        let folder = self.run_folder(run);
        let one = || std::fs::DirBuilder::new().mode(0o700).create(&folder);
        one()
            .or_else(|e| {
                if e.kind() != std::io::ErrorKind::NotFound {
                    return Err(e);
                }
                std::fs::DirBuilder::new().mode(0o700).recursive(true).create(self.runs())?;
                one()
            })
            .map_err(|e| io("make the folder of the run", e))?;
        SqliteJournal::create(folder, meta)
    }

    /// Creates a run under a name made of the time and of chance.
    pub fn create_new(
        &self,
        at: Time,
        noise: &mut dyn FnMut() -> u32,
        meta: RunMeta,
    ) -> Result<(RunId, SqliteJournal), JournalError> {
        for _ in 1..TRIES {
            let run = RunId::new(at, noise());
            if !self.run_folder(&run).exists() {
                return self.create(&run, meta).map(|journal| (run, journal));
            }
        }
        let run = RunId::new(at, noise());
        self.create(&run, meta).map(|journal| (run, journal))
    }

    /// Takes over a run: `Owned` when somebody has it, `NotFound` when there is no such run or it never began.
    pub fn open_owner(&self, run: &RunId) -> Result<SqliteJournal, JournalError> {
        SqliteJournal::open(self.run_folder(run))
    }

    /// Reads a run, whoever owns it. `NotFound` when there is no such run or it has not begun yet.
    pub fn open_reader(&self, run: &RunId) -> Result<Reader, JournalError> {
        Reader::open(&self.run_folder(run))
    }

    /// Whether an engine owns the run now.
    pub fn is_live(&self, run: &RunId) -> bool {
        lock::holder(&self.run_folder(run)).is_some()
    }

    /// Who owns the run now, in words.
    pub fn owner(&self, run: &RunId) -> Option<String> {
        lock::holder(&self.run_folder(run))
    }

    /// Why the engine that owns the run can record nothing for now, in words; `None` while it can, or when nobody owns it.
    pub fn paused(&self, run: &RunId) -> Option<String> {
        lock::word(&self.run_folder(run))
    }

    /// The index beside a run's journal, if it is there and readable.
    pub fn meta(&self, run: &RunId) -> Option<RunMeta> {
        meta::read(&self.run_folder(run))
    }

    /// Replaces the index beside a run's journal.
    pub fn set_meta(&self, run: &RunId, meta: &RunMeta) -> Result<(), JournalError> {
        meta::write(&self.run_folder(run), meta).map_err(|e| io("write the index of the run", e))
    }

    /// Removes a run for good, sound or damaged; `Owned` while an engine has it. What a kill leaves half removed is
    /// listed as quarantined and can be removed again.
    pub fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        let folder = self.run_folder(run);
        let _lock = lock::OwnerLock::take(&folder)?;
        std::fs::remove_dir_all(&folder).map_err(|e| io("remove the run", e))
    }

    /// Makes a new journal from the good beginning of a damaged one, up to record `keep` at most, and keeps the damaged one
    /// in a folder beside it. The reason why no more is kept comes with the number. `Owned` while an engine has the run;
    /// `Damaged` when nothing can be kept or nothing is wrong. Other runs are not touched.
    pub fn salvage(&self, run: &RunId, keep: Option<(u64, &str)>, at: Time) -> Result<Salvage, JournalError> {
        sqlite::salvage(&self.run_folder(run), keep, at)
    }

    /// All runs, newest first, each with a glance at its journal.
    pub fn list(&self) -> std::io::Result<Vec<RunEntry>> {
        let runs = self.ids()?;
        // One that was killed before its first record may have been alive when the names were read.
        let begun = |entry: &RunEntry| entry.health == Health::Ok || self.has_begun(&entry.id);
        Ok(runs.into_iter().map(|id| self.entry(id)).filter(begun).collect())
    }

    /// One run as a listing shows it.
    pub fn entry(&self, id: RunId) -> RunEntry {
        let folder = self.run_folder(&id);
        let live = lock::holder(&folder).is_some();
        let health = match Reader::open(&folder).and_then(|mut reader| reader.glance()) {
            Ok(_) => Health::Ok,
            // A run that has only just been created.
            Err(JournalError::NotFound) if live => Health::Ok,
            Err(JournalError::NotFound) => Health::Quarantined("the journal is missing".into()),
            Err(e) => Health::Quarantined(e.to_string()),
        };
        RunEntry { id, live, health, meta: meta::read(&folder) }
    }

    /// The names of all runs, newest first. Folders whose run never began (killed before its first record) do not
    /// count, nor does anything that is not named like a run.
    pub fn ids(&self) -> std::io::Result<Vec<RunId>> {
        let mut runs = self.names()?;
        runs.retain(|run| self.has_begun(run));
        Ok(runs)
    }

    /// The names of all folders that may be runs, newest first, at the price of one look at the folder of runs; some
    /// may never have begun.
    pub fn names(&self) -> std::io::Result<Vec<RunId>> {
        let entries = match std::fs::read_dir(self.runs()) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut runs: Vec<RunId> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        runs.sort_unstable_by(|a, b| b.cmp(a));
        Ok(runs)
    }

    /// Whether there is a journal, or what only a run that had one leaves. Locks, logs and sockets are made before the
    /// first record.
    fn has_begun(&self, run: &RunId) -> bool {
        let folder = self.run_folder(run);
        let wal = format!("{}-wal", sqlite::FILE_NAME);
        let traces = [sqlite::FILE_NAME, &wal, meta::FILE_NAME, outputs::FOLDER_NAME];
        traces.iter().any(|name| folder.join(name).exists()) || self.is_live(run)
    }

    /// The run that a person means: a whole name, the beginning of exactly one, or `last`.
    pub fn resolve(&self, name: &str) -> Result<RunId, ResolveError> {
        if let Ok(run) = name.parse::<RunId>() {
            return if self.has_begun(&run) { Ok(run) } else { Err(ResolveError::NotFound) };
        }
        if name != "last" && !is_prefix(name) {
            return Err(ResolveError::NotFound);
        }
        let mut found = self.names().map_err(ResolveError::Io)?;
        if name == "last" {
            return found.into_iter().find(|run| self.has_begun(run)).ok_or(ResolveError::NotFound);
        }
        found.retain(|run| run.as_str().starts_with(name) && self.has_begun(run));
        match found[..] {
            [] => Err(ResolveError::NotFound),
            [run] => Ok(run),
            _ => {
                found.truncate(SHOWN);
                Err(ResolveError::Ambiguous(found))
            }
        }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such run"),
            Self::Ambiguous(runs) => {
                f.write_str("several runs begin like that: ")?;
                for (i, run) in runs.iter().enumerate() {
                    write!(f, "{}{run}", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Io(_) => f.write_str("cannot list the runs"),
        }
    }
}

impl std::error::Error for ResolveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            Self::NotFound | Self::Ambiguous(_) => None,
        }
    }
}
