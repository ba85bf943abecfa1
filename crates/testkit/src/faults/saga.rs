//! Death at every step of a saga, forwards and backwards: what was completed is undone, in the opposite order, at least
//! once each, and nothing else is. It does not know how a run remembers what it has to undo.

use raddle_sim::chance::Chance;
use serde_json::Value;

use super::boundaries::{Blow, Moment, places_of};
use super::options::{Form, Options};
use super::ride::Ride;
use super::rounds;
use super::story::Story;
use super::tally::{Account, Found, Kind, Violation};

static SAGA: Story = Story::new("saga", include_str!("../../faults/saga.yaml"));
/// In the order in which they complete.
const MEMBERS: [&str; 4] = ["s1", "s2", "s3", "s4"];

pub(crate) fn section(options: &Options) -> Account {
    let mut account = Account::new("saga");
    match SAGA.objection(&options.raddle) {
        Ok(None) => {}
        Ok(objection) => {
            account.skipped = objection;
            return account;
        }
        Err(violation) => {
            account.violations.push(violation);
            return account;
        }
    }
    let tellings = match places_of(&SAGA, options) {
        Ok(places) => places.tellings,
        Err(violation) => {
            account.violations.push(violation);
            return account;
        }
    };
    let moments: &[Moment] = match options.form {
        Form::Short => &[Moment::Durable, Moment::DurableAndWorkedOn],
        Form::Full => &[Moment::Durable, Moment::DurableAndWorkedOn, Moment::Told],
    };
    let plan: Vec<(Moment, u64)> = moments.iter().flat_map(|m| (1..=tellings).map(move |k| (*m, k))).collect();
    // In the full form each of them several times: what has begun by then is another thing each time.
    let wanted = options.rounds(plan.len() as u64, plan.len() as u64 * 5);
    rounds::exactly(options, &mut account, wanted, |seed, tally| {
        let (moment, k) = plan[((seed - options.seed) as usize) % plan.len()];
        let blow = Blow { options, story: &SAGA, moment, k, chance: Chance::of(seed) };
        let at = blow.strike(tally, &undone_in_turn).map_err(|v| {
            let what = format!("{moment:?} {k}: {}", v.what);
            Violation { what, ..v }
        })?;
        if at.is_some() {
            tally.note(format!("step {k:02} crashed"));
        }
        Ok(())
    });
    if !options.is_trial() {
        // The last one may come with the one before it.
        (1..tellings).for_each(|k| account.claim(format!("step {k:02} crashed"), 1));
    }
    account
}

/// The world and the journal agree about what was undone.
fn undone_in_turn(ride: &Ride<'_>) -> Found<()> {
    let text = ride.place.text("undone");
    let mut order: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    let lines = order.len();
    // The same one again, after its engine died, is the same step.
    order.dedup();
    let wanted: Vec<&str> = MEMBERS.iter().rev().copied().collect();
    if order != wanted {
        return Err(Violation::new(Kind::Untrue, format!("undone in the order {order:?}, wanted {wanted:?}")));
    }
    let Some(run) = &ride.run else { return Err(Violation::broken("a saga without a run")) };
    let events = ride.place.events(run)?;
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    if of("compensation_started") < lines {
        return Err(Violation::new(Kind::Doubled, format!("{lines} effects, {} begun", of("compensation_started"))));
    }
    if of("compensation_succeeded") != MEMBERS.len() {
        return Err(Violation::new(Kind::Lost, format!("{} members undone", of("compensation_succeeded"))));
    }
    let first = events.iter().position(|event| event["type"] == "compensation_started");
    let later = first.map_or(&[][..], |first| &events[first..]);
    match later.iter().find(|event: &&Value| event["type"] == "attempt_started") {
        Some(event) => Err(Violation::new(Kind::Unasked, format!("begun while others were undone: {event}"))),
        None => Ok(()),
    }
}
