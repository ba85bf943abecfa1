//! `kill -9` at random moments of the reference workflows, of whoever of the run's processes. It does not know what
//! must be true afterwards.

use std::time::Duration;

use super::options::Options;
use super::place::Victim;
use super::ride::Ride;
use super::rounds;
use super::story::STORIES;
use super::tally::{Account, Found, Tally};
use raddle_sim::chance::Chance;

const KILLS_PER_RUN: u64 = 5;

pub(crate) fn section(options: &Options) -> Account {
    let mut account = Account::new("kills");
    let wanted = options.rounds(60, 500);
    account.claim("kills", wanted);
    if !options.is_trial() {
        account.claim("kills while attempts were live", wanted / 4);
        account.claim("effects cut off from their record", wanted / 20);
        for victim in Victim::EACH {
            account.claim(format!("kills of {}", victim.name()), wanted / 40);
        }
        for story in &STORIES {
            account.claim(format!("kills in {}", story.name), 1);
        }
    }
    rounds::until_claimed(options, &mut account, wanted * 2, |seed, tally| one_run(options, seed, tally));
    account
}

fn one_run(options: &Options, seed: u64, tally: &mut Tally) -> Found<()> {
    let mut chance = Chance::of(seed);
    let story = &STORIES[(seed % STORIES.len() as u64) as usize];
    let mut ride = Ride::new(story, &options.raddle)?;
    // An interrupted run has less to do than the whole, so what is waited for gets shorter.
    let mut span = ride.calm.wall.as_micros() as u64 + 20_000;
    for _ in 0..KILLS_PER_RUN {
        let mut live = ride.start()?;
        // The moment is what this is about; nothing can be observed that stands for it.
        std::thread::sleep(Duration::from_micros(chance.below(span)));
        if live.has_ended() {
            tally.note("ended before the kill");
            return ride.finish(live, tally);
        }
        let who = live.killed(chance.pick(&Victim::EACH))?;
        tally.note("kills");
        tally.note(format!("kills of {}", who.name()));
        tally.note(format!("kills in {}", story.name));
        ride.after_kill(who, tally)?;
        span = (span * 3 / 4).max(30_000);
    }
    let live = ride.start()?;
    ride.finish(live, tally)
}
