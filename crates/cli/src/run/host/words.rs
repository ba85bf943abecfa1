//! A person's word on a task of a run that nobody drives, written down and not acted on: after a salvage nobody knows what
//! ran behind the last records, so going on is for whoever has been told what that would do.

use raddle_engine::{Engine, Outcome};
use raddle_journal::{RunId, SqliteJournal};

use super::{Launch, Record, SystemClock, Word, redefine, say, store};
use crate::problem::Problem;
use crate::run::resume::refuse_changed;
use crate::run::stop::Nobody;

impl Launch {
    /// Writes the word down. `Some` when the run has ended by it.
    pub fn note(
        self,
        id: &RunId,
        mut journal: SqliteJournal,
        records: Vec<Record>,
        word: Word,
    ) -> Result<Option<Outcome>, Problem> {
        refuse_changed(id, &records, &self.workflow.hash)?;
        let ledger = store::view_over(id, &records)?.ledger;
        let mut program = self.program(id).changed_by(Box::new(redefine::Redefiner::beside(&self)));
        let (mut nobody, mut clock) = (Nobody, SystemClock::default());
        let admission = self.admission().with_budget(ledger);
        let wrong = |e| store::engine_problem(id.as_str(), &e);
        let finished = {
            let mut engine = Engine::new(&mut program, &mut nobody, &mut journal, &mut clock, admission);
            engine.load(records).map_err(wrong)?;
            engine.settle_lost();
            say(&mut engine, &self.workflow, word)?;
            engine.write_down().map_err(wrong)?;
            engine.run_state().finished()
        };
        if let Some(outcome) = finished {
            self.note_end(id, outcome, store::now().0);
        }
        Ok(finished)
    }
}
