//! What a run tells while it goes on in this process: events to a file or stdout, progress to stderr, and a view for
//! the end. It reads what the engine publishes and decides nothing.

use std::io::{BufWriter, Write};

use raddle_engine::attempt::AttemptKey;
use raddle_engine::fact::Record;
use raddle_engine::outputs::Outputs;
use raddle_engine::view::RunView;
use raddle_engine::Observer;
use raddle_kernel::Run;

use super::events;
use crate::args::ReportArgs;
use crate::problem::Problem;
use crate::terminal;

/// See the module.
pub struct Reporter {
    view: Option<RunView>,
    events: Option<BufWriter<Box<dyn Write>>>,
    /// Progress lines that have not been written; `None` when nobody wants them.
    progress: Option<String>,
    /// Why events can no longer be written.
    pub broken: Option<std::io::Error>,
}

impl Reporter {
    /// As the command line asks.
    pub fn new(report: &ReportArgs) -> Result<Self, Problem> {
        let sink: Option<Box<dyn Write>> = match report.events.as_deref() {
            None => None,
            Some("-") => Some(Box::new(std::io::stdout())),
            Some(path) => {
                let file = std::fs::File::create(path).map_err(|e| Problem::io(format!("write events to {path}"), &e))?;
                Some(Box::new(file))
            }
        };
        Ok(Reporter {
            view: None,
            events: sink.map(BufWriter::new),
            progress: (!report.quiet).then(String::new),
            broken: None,
        })
    }

    /// The view over records that were durable before this process came.
    pub fn seed(&mut self, view: RunView) {
        self.view = Some(view);
    }

    /// The run as it stands.
    pub fn view(&self) -> Option<&RunView> {
        self.view.as_ref()
    }

    /// Writes what has been held back.
    pub fn flush(&mut self) {
        if let Some(text) = &mut self.progress
            && !text.is_empty()
        {
            terminal::tell(text);
            text.clear();
        }
        if let Some(events) = &mut self.events
            && let Err(error) = events.flush()
        {
            self.broken.get_or_insert(error);
        }
    }
}

impl Observer for Reporter {
    fn published(&mut self, records: &[Record], _run: &Run, _outputs: &Outputs) {
        for record in records {
            let folded = match &mut self.view {
                Some(view) => view.apply(record),
                None => RunView::begin(record).map(|view| self.view = Some(view)),
            };
            folded.expect("what the engine publishes can be folded");
            let Some(view) = &self.view else { continue };
            if let Some(events) = &mut self.events
                && let Err(error) = writeln!(events, "{}", events::line(record, view))
            {
                self.broken.get_or_insert(error);
            }
            if let Some(progress) = &mut self.progress {
                progress.push_str(&events::words(record, view));
            }
        }
    }

    fn progress(&mut self, _key: AttemptKey, _line: &str) {}

    fn idle(&mut self) {
        self.flush();
    }
}
