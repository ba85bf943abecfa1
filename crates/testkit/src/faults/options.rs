//! The words of the command line. It does not know what the sections do.

use std::path::PathBuf;

/// What `--help` says.
pub(crate) const HELP: &str = "\
The fault suite. It breaks things around the real raddle binary and counts what was really broken, and what was violated.

usage: faults [--short | --full] [--section NAME]… [--rounds N] [--seed N] [--jobs N] [--json]
       faults mutants [--only NN]… [--list]

  --short        the form of every build: a few minutes on two cores (default)
  --full         ten times as much: half an hour to an hour on two cores
  --section NAME kills, boundaries, orphans, contention, gates, saga, images, seeds; all without it
  --rounds N     so many rounds instead of those of the form
  --seed N       the first round's seed (default 1); a round's seed is told with whatever it violates
  --jobs N       rounds at a time (default: processors, at most 4)
  --json         one document instead of the table

The binary is RADDLE_BIN, else the `raddle` beside this program. Exit code 1: something was violated, or less was
injected than is claimed.
";

/// A part of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Kills,
    Boundaries,
    Orphans,
    Contention,
    Gates,
    Saga,
    Images,
    Seeds,
}

impl Section {
    const ALL: [Section; 8] = [
        Section::Kills,
        Section::Boundaries,
        Section::Orphans,
        Section::Contention,
        Section::Gates,
        Section::Saga,
        Section::Images,
        Section::Seeds,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Section::Kills => "kills",
            Section::Boundaries => "boundaries",
            Section::Orphans => "orphans",
            Section::Contention => "contention",
            Section::Gates => "gates",
            Section::Saga => "saga",
            Section::Images => "images",
            Section::Seeds => "seeds",
        }
    }
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Short,
    Full,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Form::Short => "short",
            Form::Full => "full",
        }
    }
}

/// What the suite is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) form: Form,
    pub(crate) sections: Vec<Section>,
    rounds: Option<u64>,
    pub(crate) seed: u64,
    pub(crate) jobs: usize,
    pub(crate) json: bool,
    /// The binary under test.
    pub(crate) raddle: PathBuf,
}

impl Options {
    /// How many rounds: as asked, else as the form says.
    pub(crate) fn rounds(&self, short: u64, full: u64) -> u64 {
        self.rounds.unwrap_or(match self.form {
            Form::Short => short,
            Form::Full => full,
        })
    }

    /// The same with another first seed.
    pub(crate) fn from(&self, seed: u64) -> Options {
        Options { seed, ..self.clone() }
    }

    /// Whether somebody asked for a number of their own: then nothing is claimed about how much that proves.
    pub(crate) fn is_trial(&self) -> bool {
        self.rounds.is_some()
    }
}

/// What the words ask for.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Suite(Options),
    /// To try the breakages whose names begin so, or all; or only to name them.
    Mutants {
        only: Vec<String>,
        list: bool,
    },
    /// To be one of the programs that reference workflows call.
    Play(Vec<String>),
}

/// Reads the words.
pub(crate) fn read(words: &[String]) -> Result<Asked, String> {
    if words.first().is_some_and(|w| w == "play") {
        return Ok(Asked::Play(words[1..].to_vec()));
    }
    if words.first().is_some_and(|w| w == "mutants") {
        return mutants(&words[1..]);
    }
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
    let mut options = Options {
        form: Form::Short,
        sections: Vec::new(),
        rounds: None,
        seed: 1,
        jobs: cores.clamp(2, 4),
        json: false,
        raddle: PathBuf::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
        match word.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--short" => options.form = Form::Short,
            "--full" => options.form = Form::Full,
            "--json" => options.json = true,
            "--seed" => options.seed = number(value()?)?,
            "--rounds" => options.rounds = Some(number(value()?)?),
            "--jobs" => options.jobs = number(value()?)?.clamp(1, 64) as usize,
            "--section" => {
                let name = value()?;
                let found = Section::ALL.into_iter().find(|s| s.name() == name);
                options.sections.push(found.ok_or_else(|| format!("no section is called {name}"))?);
            }
            _ => return Err(format!("{word} is no option")),
        }
    }
    if options.sections.is_empty() {
        options.sections = Section::ALL.to_vec();
    }
    options.raddle = binary()?;
    Ok(Asked::Suite(options))
}

fn mutants(words: &[String]) -> Result<Asked, String> {
    let (mut only, mut list, mut words) = (Vec::new(), false, words.iter());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => list = true,
            "--only" => only.push(words.next().cloned().ok_or("--only takes a number or a name")?),
            _ => return Err(format!("{word} is no option of `mutants`")),
        }
    }
    Ok(Asked::Mutants { only, list })
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|e| format!("{word}: {e}"))
}

/// The binary under test.
fn binary() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("RADDLE_BIN") {
        return std::fs::canonicalize(&path).map_err(|e| format!("RADDLE_BIN: {e}"));
    }
    crate::bench::process::raddle().map_err(|what| format!("{what} (`cargo build -p raddle-cli`), or set RADDLE_BIN"))
}
