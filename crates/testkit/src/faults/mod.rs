//! The fault suite: sections that break things around the real binary, each counting what it really injected and what
//! was violated. It knows what users are promised and nothing about how that is kept.

mod boundaries;
mod contention;
mod gates;
mod images;
mod kills;
pub mod mutants;
mod options;
mod orphans;
mod parts;
mod place;
mod processes;
mod ride;
mod rounds;
mod saga;
mod seeds;
mod steps;
mod story;
mod tally;
mod truth;

use std::process::ExitCode;
use std::time::Instant;

use options::{Asked, Options, Section};
use tally::Account;

/// The whole program: reads its words, does what they say, prints, and says by its exit code how it went.
pub fn main(words: &[String]) -> ExitCode {
    match options::read(words) {
        Ok(Asked::Help) => {
            say(options::HELP);
            ExitCode::SUCCESS
        }
        Ok(Asked::Play(part)) => parts::play(&part),
        Ok(Asked::Suite(options)) => suite(&options),
        Ok(Asked::Mutants { only, list }) => match mutants::run(&only, list) {
            Ok(all_caught) => ExitCode::from(u8::from(!all_caught)),
            Err(what) => {
                talk(&format!("faults: {what}"));
                ExitCode::from(2)
            }
        },
        Err(what) => {
            talk(&format!("faults: {what}\n{}", options::HELP));
            ExitCode::from(2)
        }
    }
}

fn suite(options: &Options) -> ExitCode {
    let mut accounts = Vec::new();
    for section in &options.sections {
        talk(&format!("{}: seed {}", section.name(), options.seed));
        let since = Instant::now();
        let mut account = match section {
            Section::Kills => kills::section(options),
            Section::Boundaries => boundaries::section(options),
            Section::Orphans => orphans::section(options),
            Section::Contention => contention::section(options),
            Section::Gates => gates::section(options),
            Section::Saga => saga::section(options),
            Section::Images => images::section(options),
            Section::Seeds => seeds::section(options),
        };
        account.wall = since.elapsed();
        for violation in &account.violations {
            talk(&format!("  {violation}"));
        }
        for short in account.short_of() {
            talk(&format!("  not injected as claimed: {short}"));
        }
        accounts.push(account);
    }
    say(&if options.json { tally::document(&accounts, options) } else { tally::table(&accounts) });
    let sound = accounts.iter().all(Account::is_sound);
    ExitCode::from(u8::from(!sound))
}

/// Data goes to stdout.
#[allow(clippy::print_stdout, reason = "the answer of a program")]
fn say(text: &str) {
    println!("{}", text.trim_end());
}

/// Talk goes to stderr.
#[allow(clippy::print_stderr, reason = "the talk of a program")]
pub(crate) fn talk(text: &str) {
    eprintln!("{}", text.trim_end());
}
