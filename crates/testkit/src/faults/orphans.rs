//! Engines that are killed while twenty children are there that fork twice, begin sessions of their own and ignore
//! TERM: nobody survives for five seconds. It does not know who ends them.

use super::options::Options;
use super::place::{Place, Victim, until};
use super::processes;
use super::rounds;
use super::tally::{Account, Found, Kind, Tally, Violation};
use raddle_sim::chance::Chance;

const CHILDREN: usize = 20;

/// Ignores what can be ignored, leaves a grandchild in a session of its own whose parent is gone, and stays itself.
const STUBBORN: &str = "#!/bin/sh
trap '' TERM HUP INT QUIT
place=$(dirname \"$0\")
( setsid sh -c 'trap \"\" TERM HUP INT QUIT; ( sleep 600 & ) ; exec sleep 600' & )
echo \"$RADDLE_TASK_ID\" >> \"$place/there\"
exec sleep 600
";

pub(crate) fn section(options: &Options) -> Account {
    let mut account = Account::new("orphans");
    let kills = options.rounds(16, 200);
    rounds::exactly(options, &mut account, kills, |seed, tally| one_kill(options, seed, tally));
    account.claim("kills", kills);
    account.claim("stubborn children alive at the kill", kills * CHILDREN as u64 * 3);
    account
}

fn one_kill(options: &Options, seed: u64, tally: &mut Tally) -> Found<()> {
    let mut place = Place::new(&options.raddle)?;
    place.variable("RADDLE_DAG_EXECUTION_MAX_LOCAL", "32");
    place.program("stubborn", STUBBORN)?;
    let mut text = String::from("tasks:\n");
    (0..CHILDREN).for_each(|n| text += &format!("  - {{ id: t{n}, run: ./stubborn }}\n"));
    place.file("wf.yaml", &text)?;
    let live = place.start(&["run", "wf.yaml", "--quiet"])?;
    // Each of them is three processes, of which one has neither parent nor session in common with its task.
    let of_tasks = || processes::mentioning(place.root()).into_iter().filter(|p| p.of_a_task).collect::<Vec<_>>();
    let sleeping = |all: &[processes::Process]| all.iter().filter(|p| p.words.starts_with("sleep")).count();
    until("all children are there", || sleeping(&of_tasks()) >= CHILDREN * 3)?;
    let there = of_tasks();
    let victim = Chance::of(seed).pick(&[Victim::Engine, Victim::Engine, Victim::Warden, Victim::Front]);
    let who = live.killed(victim)?;
    tally.note("kills");
    tally.note(format!("kills of {}", who.name()));
    tally.add("stubborn children alive at the kill", there.len() as u64);
    let took = place.emptied()?;
    tally.most("most ms until nothing was alive", took.as_millis() as u64);
    match there.iter().find(|p| p.alive()) {
        Some(survivor) => Err(Violation::new(Kind::Orphan, format!("alive without its environment: {survivor:?}"))),
        None => Ok(()),
    }
}
