//! Two to eight engines that want one interrupted run at the same moment: one has it, the others are told so. It does
//! not know how a run is owned.

use std::time::Duration;

use super::options::Options;
use super::place::{Live, Place, Victim, until};
use super::processes;
use super::ride::Ride;
use super::rounds;
use super::story::Story;
use super::tally::{Account, Found, Kind, Tally, Violation};
use super::truth;
use raddle_sim::chance::Chance;

/// What somebody is told who does not get the run.
const OWNED: i32 = 7;
const CONTESTS_PER_RUN: u64 = 4;
static CONTEST: Story = Story::new("contest", include_str!("../../faults/contest.yaml"));

pub(crate) fn section(options: &Options) -> Account {
    let mut account = Account::new("contention");
    let wanted = options.rounds(40, 1000);
    account.claim("contests", wanted);
    account.claim("refused", wanted);
    account.claim("owners killed in a contest", wanted / 8);
    rounds::until_claimed(options, &mut account, wanted * 2, |seed, tally| one_run(options, seed, tally));
    account
}

fn one_run(options: &Options, seed: u64, tally: &mut Tally) -> Found<()> {
    let mut chance = Chance::of(seed);
    let mut ride = Ride::new(&CONTEST, &options.raddle)?;
    let live = ride.start()?;
    until("the run is held", || ride.place.text("effects").lines().count() >= 1 && of_tasks(&ride.place) >= 2)?;
    live.killed(Victim::Engine)?;
    ride.after_kill(Victim::Engine, tally)?;
    for _ in 0..CONTESTS_PER_RUN {
        tally.note("contests");
        let owner = contest(&mut ride, &mut chance, tally)?;
        one_at_a_time(&ride)?;
        owner.killed(Victim::Engine)?;
        ride.after_kill(Victim::Engine, tally)?;
    }
    let owner = contest(&mut ride, &mut chance, tally)?;
    tally.note("contests");
    ride.place.file("go", "")?;
    ride.finish(owner, tally)?;
    one_at_a_time(&ride)
}

/// Several engines want the run; the one that got it. Sometimes the first that has it is killed while the others want
/// it still.
fn contest(ride: &mut Ride<'_>, chance: &mut Chance, tally: &mut Tally) -> Found<Live> {
    let engines = 2 + chance.below(7);
    tally.add("engines in contests", engines);
    let mut live = Vec::new();
    for _ in 0..engines {
        live.push(ride.start()?);
    }
    let mut left = engines;
    if chance.below(3) == 0 {
        until("somebody owns the run", || of_tasks(&ride.place) >= 2 || live.iter_mut().all(Live::has_ended))?;
        std::thread::sleep(Duration::from_micros(chance.below(20_000)));
        let owner = live.iter().position(has_tasks);
        if let Some(at) = owner {
            live.remove(at).killed(Victim::Engine)?;
            left -= 1;
            tally.note("owners killed in a contest");
        }
    }
    if left == 0 {
        return Err(Violation::broken("nobody is left"));
    }
    // All that are refused end; whoever is left drives the run.
    until("all but one are refused", || live.iter_mut().map(Live::has_ended).filter(|ended| !ended).count() <= 1)?;
    let mut owner = None;
    for mut one in live {
        if !one.has_ended() {
            owner = Some(one);
            continue;
        }
        let ended = one.ended()?;
        if ended.code != Some(OWNED) {
            let what = format!("exit {:?} in a contest: {}{}", ended.code, ended.out, ended.err);
            return Err(Violation::new(Kind::Stuck, what));
        }
        tally.note("refused");
    }
    match owner {
        Some(owner) => Ok(owner),
        // Who was killed had it, and the others gave up meanwhile: the next one gets it.
        None => {
            tally.note("contests that nobody won");
            ride.start()
        }
    }
}

/// Living processes of tasks.
fn of_tasks(place: &Place) -> usize {
    processes::mentioning(place.root()).iter().filter(|p| p.of_a_task).count()
}

/// Whether it has started something.
fn has_tasks(live: &Live) -> bool {
    live.members().get(2).is_some_and(|engine| processes::child_of(*engine).is_some())
}

/// The world has seen one engine after the other, never two in turns.
fn one_at_a_time(ride: &Ride<'_>) -> Found<()> {
    let mut engines: Vec<i32> = Vec::new();
    for effect in truth::effects(&ride.place)? {
        if engines.last() == Some(&effect.engine) {
            continue;
        }
        if engines.contains(&effect.engine) {
            return Err(Violation::new(Kind::Doubled, format!("two engines at once: {engines:?}, {effect:?}")));
        }
        engines.push(effect.engine);
    }
    Ok(())
}
