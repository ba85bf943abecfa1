//! Death at every boundary of the journal, workflow by workflow: after the k-th record is durable and before anybody
//! was told, right after it was told, and at the k-th write to the journal's log. It does not know what must be true
//! afterwards.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::inotify;
use serde_json::Value;

use super::options::{Form, Options};
use super::place::{Live, Place, Victim};
use super::ride::Ride;
use super::rounds;
use super::steps::{Step, Steps};
use super::story::{STORIES, Story};
use super::tally::{Account, Found, Tally, Violation};
use raddle_sim::chance::Chance;

/// How a boundary is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The records are durable, what follows from them has begun, and nobody was told.
    Durable,
    /// The same, some milliseconds later: what has begun may have ended.
    DurableAndWorkedOn,
    /// Somebody was just told.
    Told,
    /// The log of the journal was just written to; whether that was durable, it will be seen.
    Written,
}

/// How many places a workflow has at which it can be hit, seen in a run that is not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Places {
    pub(crate) tellings: u64,
    writes: u64,
}

pub(crate) fn section(options: &Options) -> Account {
    let mut account = Account::new("boundaries");
    let places = Mutex::new(vec![Places::default(); STORIES.len()]);
    let mut seen = Account::new("boundaries");
    rounds::exactly(&options.from(0), &mut seen, STORIES.len() as u64, |s, _| {
        let found = places_of(&STORIES[s as usize], options)?;
        places.lock().unwrap_or_else(|e| e.into_inner())[s as usize] = found;
        Ok(())
    });
    account.violations.append(&mut seen.violations);
    let places = places.into_inner().unwrap_or_else(|e| e.into_inner());
    let plan = plan(options.form, &places, options.seed);
    let hit = Mutex::new(vec![BTreeSet::new(); STORIES.len()]);
    let wanted = options.rounds(plan.len() as u64, plan.len() as u64);
    rounds::exactly(options, &mut account, wanted, |seed, tally| {
        let (s, moment, k) = plan[((seed - options.seed) as usize) % plan.len()];
        let story = &STORIES[s];
        let one = Blow { options, story, moment, k, chance: Chance::of(seed) };
        let at = one.strike(tally, &|_| Ok(())).map_err(|v| {
            let what = format!("{}, {moment:?} {k}: {}", story.name, v.what);
            Violation { what, ..v }
        })?;
        if let Some(at) = at {
            hit.lock().unwrap_or_else(|e| e.into_inner())[s].insert(at);
        }
        Ok(())
    });
    let hit = hit.into_inner().unwrap_or_else(|e| e.into_inner());
    for ((story, hit), places) in STORIES.iter().zip(&hit).zip(&places) {
        account.injected.add(format!("different records that were the last, {}", story.name), hit.len() as u64);
        account.injected.add("different records that were the last", hit.len() as u64);
        if !options.is_trial() {
            // What runs in parallel takes more turns at one time than at another.
            account.claim(format!("held before a telling, {}", story.name), (places.tellings * 2 / 3).max(1));
        }
    }
    if !options.is_trial() {
        account.claim("durable and untold", plan.len() as u64 / 4);
        account.claim("durable and told", plan.len() as u64 / 20);
        account.claim("at a write to the log", plan.len() as u64 / 20);
    }
    account
}

/// Every telling of every workflow, and some or all of the other moments.
fn plan(form: Form, places: &[Places], seed: u64) -> Vec<(usize, Moment, u64)> {
    let mut plan = Vec::new();
    for (s, places) in places.iter().enumerate() {
        // Others with another seed.
        let some =
            |of: u64, every: u64| (1..=of).filter(move |k| form == Form::Full || (k + seed).is_multiple_of(every));
        plan.extend((1..=places.tellings).map(|k| (s, Moment::Durable, k)));
        plan.extend(some(places.tellings, 4).map(|k| (s, Moment::DurableAndWorkedOn, k)));
        plan.extend(some(places.tellings, 3).map(|k| (s, Moment::Told, k)));
        plan.extend(some(places.writes, 2).map(|k| (s, Moment::Written, k)));
    }
    plan
}

/// One run held before every telling, one whose writes are counted.
pub(crate) fn places_of(story: &Story, options: &Options) -> Found<Places> {
    let ride = &mut Ride::new(story, &options.raddle)?;
    let steps = Steps::new()?;
    let mut live = ride.start_telling(steps.stdout()?.into())?;
    let mut places = Places::default();
    while let Step::Told(_) = steps.next(&mut live)? {
        places.tellings += 1;
    }
    let mut one = Blow { options, story, moment: Moment::Written, k: u64::MAX, chance: Chance::of(0) };
    one.at_write(&mut Ride::new(story, &options.raddle)?, Victim::Engine)?;
    places.writes = one.k;
    Ok(places)
}

/// One death at one place.
pub(crate) struct Blow<'a> {
    pub(crate) options: &'a Options,
    pub(crate) story: &'a Story,
    pub(crate) moment: Moment,
    pub(crate) k: u64,
    pub(crate) chance: Chance,
}

impl Blow<'_> {
    /// One run with one death in it; the record after which it died, when it did. `also` looks at what is left.
    pub(crate) fn strike(mut self, tally: &mut Tally, also: &dyn Fn(&Ride<'_>) -> Found<()>) -> Found<Option<u64>> {
        let mut ride = Ride::new(self.story, &self.options.raddle)?;
        let victim = if self.chance.below(4) == 0 { Victim::All } else { Victim::Engine };
        let dead = match self.moment {
            Moment::Written => self.at_write(&mut ride, victim)?,
            _ => self.at_telling(&mut ride, victim)?,
        };
        let Some(who) = dead else {
            tally.note("over before that boundary");
            // It ended undisturbed, which has been looked at often enough.
            return Ok(None);
        };
        tally.note("kills");
        if self.moment == Moment::Durable {
            tally.note(format!("held before a telling, {}", self.story.name));
        }
        let seen = ride.seen.len() as u64;
        let journal = ride.after_kill(who, tally)?;
        let at = journal.as_ref().map_or(0, |journal| journal.len() as u64);
        if self.moment == Moment::Written {
            tally.note("at a write to the log");
        } else {
            tally.note(if at > seen { "durable and untold" } else { "durable and told" });
        }
        let over = journal.as_ref().and_then(|j| j.last()).is_some_and(|last| last["type"] == "run_finished");
        if over {
            tally.note("behind the last record");
        }
        let live = ride.start()?;
        ride.finish(live, tally)?;
        also(&ride)?;
        Ok(Some(at))
    }

    /// Holds the run before its k-th telling.
    fn at_telling(&mut self, ride: &mut Ride<'_>, victim: Victim) -> Found<Option<Victim>> {
        let steps = Steps::new()?;
        let mut live = ride.start_telling(steps.stdout()?.into())?;
        let before = if self.moment == Moment::Told { self.k } else { self.k - 1 };
        for _ in 0..before {
            match steps.next(&mut live)? {
                Step::Told(events) => ride.seen.extend(events),
                Step::Ended => return Ok(None),
            }
        }
        if self.moment != Moment::Told && !self.waits_to_tell(ride, &mut live)? {
            return Ok(None);
        }
        if self.moment == Moment::DurableAndWorkedOn {
            std::thread::sleep(Duration::from_micros(self.chance.below(40_000)));
        }
        let who = live.killed(victim)?;
        let rest: Vec<Value> = steps.rest()?;
        ride.seen.extend(rest);
        Ok(Some(who))
    }

    /// Waits until the journal has more than was told: the engine holds it and cannot say so.
    fn waits_to_tell(&self, ride: &Ride<'_>, live: &mut Live) -> Found<bool> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !live.has_ended() && Instant::now() < deadline {
            if records(&ride.place) > ride.seen.len() as u64 {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        Ok(false)
    }

    /// Kills at the k-th write to the journal's log; a run that had fewer says how many.
    fn at_write(&mut self, ride: &mut Ride<'_>, victim: Victim) -> Found<Option<Victim>> {
        let mut live = ride.start()?;
        let watch =
            inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).map_err(Violation::broken)?;
        let (mut watched, mut writes) = (false, 0);
        let mut room = [std::mem::MaybeUninit::uninit(); 4096];
        while writes < self.k {
            if live.has_ended() {
                self.k = writes;
                return Ok(None);
            }
            if !watched {
                let found = log_of(&ride.place);
                let flags = inotify::WatchFlags::MODIFY;
                watched = found.is_some_and(|log| inotify::add_watch(&watch, &log, flags).is_ok());
                continue;
            }
            let mut reader = inotify::Reader::new(&watch, &mut room);
            match reader.next() {
                Ok(_) => writes += 1,
                Err(_) => std::thread::sleep(Duration::from_micros(20)),
            }
        }
        std::thread::sleep(Duration::from_micros(self.chance.below(400)));
        if live.has_ended() {
            return Ok(None);
        }
        live.killed(victim).map(Some)
    }
}

/// The log of the only run's journal, once it is there.
fn log_of(place: &Place) -> Option<std::path::PathBuf> {
    let runs = std::fs::read_dir(place.root().join("state/runs")).ok()?;
    let log = runs.flatten().next()?.path().join("journal.db-wal");
    log.exists().then_some(log)
}

/// Records that are durable by now, as any reader sees them.
fn records(place: &Place) -> u64 {
    let home = raddle_journal::Home::open(place.root().join("state"));
    let Some(run) = home.ids().ok().and_then(|ids| ids.into_iter().next()) else { return 0 };
    let Ok(mut reader) = home.open_reader(&run) else { return 0 };
    let mut last = 0;
    // A journal that is being made cannot be read yet; the next look will.
    let _ = reader.read(&mut |record| last = record.seq);
    last
}
