//! How soon a killed run goes on: a chain of durable no-ops is killed with SIGKILL, started again, and the time from
//! the start of the new process to its first new step is taken.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use raddle_engine::admission::Admission;
use raddle_engine::fact::{Chapter, Fact, Record};
use raddle_engine::outputs::Outputs;
use raddle_engine::ports::Journal;
use raddle_engine::{Engine, Observer};
use raddle_journal::Home;
use raddle_kernel::Run;

use super::steps::journal;
use super::{Scratch, number};
use crate::dag;
use crate::noop::{NoopDispatcher, NoopProgram, WallClock};

/// Steps beyond the one after which it is killed.
const MORE: u32 = 500;

/// Prints a line for every step that is durable.
struct Teller {
    steps: u32,
    every: bool,
}

impl Observer for Teller {
    fn published(&mut self, records: &[Record], _run: &Run, _outputs: &Outputs) {
        let mut out = std::io::stdout().lock();
        for record in records {
            let told = match record.fact {
                Fact::AttemptSucceeded { .. } if self.every => true,
                Fact::AttemptStarted { .. } if !self.every => true,
                _ => false,
            };
            if told {
                self.steps += 1;
                let _ = writeln!(out, "step {} ", self.steps);
            }
        }
        let _ = out.flush();
    }
}

/// The whole measurement.
pub fn measure(steps: &str) -> Result<String, String> {
    let done = number(steps)?;
    let scratch = Scratch::new()?;
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let spawn = |args: &[&str]| {
        let mut command = Command::new(&own);
        command.args(args).stdout(Stdio::piped()).stdin(Stdio::null());
        command.spawn().map_err(|e| e.to_string())
    };
    let folder = scratch.path().to_string_lossy().into_owned();
    let mut first = spawn(&["recover-begin", &folder, steps])?;
    let lines = BufReader::new(first.stdout.take().ok_or("no pipe")?).lines();
    let wanted = format!("step {done} ");
    lines.map_while(Result::ok).find(|line| *line == wanted).ok_or("ended before the step to kill it at")?;
    first.kill().map_err(|e| e.to_string())?;
    first.wait().map_err(|e| e.to_string())?;
    let began = Instant::now();
    let mut second = spawn(&["recover-resume", &folder])?;
    let mut lines = BufReader::new(second.stdout.take().ok_or("no pipe")?).lines();
    let line = lines.find_map(Result::ok).ok_or("did not resume")?;
    let seconds = began.elapsed().as_secs_f64();
    second.kill().map_err(|e| e.to_string())?;
    second.wait().map_err(|e| e.to_string())?;
    Ok(format!("{{\"run_s\":{seconds:.6},\"first_new_step\":{done},\"told\":\"{}\"}}", line.trim()))
}

/// The run that will be killed.
pub fn begin(folder: &str, steps: &str) -> Result<String, String> {
    let steps = number(steps)?;
    std::fs::write(Path::new(folder).join("steps"), steps.to_string()).map_err(|e| e.to_string())?;
    let mut journal = journal(Path::new(folder))?;
    let mut program = NoopProgram::new(dag::chain(steps + MORE));
    let (mut dispatcher, mut clock) = (NoopDispatcher::default(), WallClock);
    let mut teller = Teller { steps: 0, every: true };
    let mut engine =
        Engine::new(&mut program, &mut dispatcher, &mut journal, &mut clock, Admission::new(Vec::new(), false));
    engine.observe(&mut teller);
    engine.begin(Chapter::default());
    engine.drive().map_err(|e| e.to_string())?;
    Ok(String::new())
}

/// The run that goes on.
pub fn resume(folder: &str) -> Result<String, String> {
    let folder = PathBuf::from(folder);
    let steps = std::fs::read_to_string(folder.join("steps")).map_err(|e| e.to_string())?;
    let home = Home::open(&folder);
    let id = home.resolve("last").map_err(|e| e.to_string())?;
    let mut journal = home.open_owner(&id).map_err(|e| e.to_string())?;
    let mut records = Vec::new();
    journal.replay(&mut |record| records.push(record)).map_err(|e| e.to_string())?;
    let mut program = NoopProgram::new(dag::chain(number(&steps)? + MORE));
    let (mut dispatcher, mut clock) = (NoopDispatcher::default(), WallClock);
    let mut teller = Teller { steps: 0, every: false };
    let mut engine =
        Engine::new(&mut program, &mut dispatcher, &mut journal, &mut clock, Admission::new(Vec::new(), false));
    engine.observe(&mut teller);
    engine.load(records).map_err(|e| e.to_string())?;
    engine.take_over();
    engine.drive().map_err(|e| e.to_string())?;
    Ok(String::new())
}

/// Seconds to read and fold the journal of a chain of that many steps (two records each).
pub fn replay(steps: &str) -> Result<String, String> {
    let steps = number(steps)?;
    let scratch = Scratch::new()?;
    let mut written = journal(scratch.path())?;
    super::steps::run(dag::fan(steps), &mut written, u32::MAX)?;
    drop(written);
    let began = Instant::now();
    let home = Home::open(scratch.path());
    let id = home.resolve("last").map_err(|e| e.to_string())?;
    let mut journal = home.open_owner(&id).map_err(|e| e.to_string())?;
    let mut records = Vec::new();
    journal.replay(&mut |record| records.push(record)).map_err(|e| e.to_string())?;
    let count = records.len();
    let read = began.elapsed().as_secs_f64();
    let mut program = NoopProgram::new(dag::fan(steps));
    let (mut dispatcher, mut clock) = (NoopDispatcher::default(), WallClock);
    let mut engine =
        Engine::new(&mut program, &mut dispatcher, &mut journal, &mut clock, Admission::new(Vec::new(), false));
    engine.load(records).map_err(|e| e.to_string())?;
    let folded = began.elapsed().as_secs_f64();
    Ok(format!("{{\"records\":{count},\"read_s\":{read:.6},\"run_s\":{folded:.6}}}"))
}
