//! Progress on a terminal: a block at the bottom that is redrawn at most ten times a second, with what failed left
//! above it. It does not know whether there is a terminal; it is told the size.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use super::event::{Ending, Happening};
use super::tally::{Tally, first_line};
use crate::terminal::{Colour, cut, duration, harmless};

/// The shortest time between two drawings.
const INTERVAL: Duration = Duration::from_millis(100);
/// Elapsed times move even when nothing else does.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// At most so many running tasks have a line of their own.
const RUNNING_LINES: usize = 12;

/// Columns and rows of the terminal, asked before every drawing because people resize windows.
pub(super) type Size = fn() -> (usize, usize);

/// The block.
pub(super) struct Live<W: Write> {
    out: W,
    size: Size,
    colour: Colour,
    began: Instant,
    drawn: Option<Instant>,
    changed: bool,
    /// Lines of the block that are on the screen now.
    lines: usize,
    /// Permanent lines that are not written yet.
    above: String,
}

impl<W: Write> Live<W> {
    pub(super) fn new(out: W, size: Size, colour: Colour) -> Self {
        let above = String::new();
        Live { out, size, colour, began: Instant::now(), drawn: None, changed: true, lines: 0, above }
    }

    pub(super) fn show(&mut self, tally: &Tally, event: &Happening<'_>) {
        self.changed = true;
        let _ = match *event {
            Happening::Settled {
                ix,
                ending: ending @ (Ending::Failed | Ending::FailedSafe | Ending::Waiting | Ending::NotCompensated),
                message,
                ..
            } => {
                let (word, message) = (self.painted(ending), first_line(message));
                writeln!(self.above, "{word} {}: {message}", tally.id(ix))
            }
            Happening::Retrying { ix, message, after_ms } => {
                let (after, message) = (duration(after_ms), first_line(message));
                writeln!(self.above, "retrying {} in {after}: {message}", tally.id(ix))
            }
            Happening::Storage { words } => writeln!(self.above, "disk: {}", harmless(words)),
            Happening::Asked { words } => write!(self.above, "{words}"),
            Happening::Finished => {
                self.clear();
                return;
            }
            _ => Ok(()),
        };
    }

    /// Draws when it is time to.
    pub(super) fn idle(&mut self, tally: &Tally) {
        if self.wake_at() <= Instant::now() {
            let (columns, rows) = (self.size)();
            let block = self.block(tally, columns, rows);
            self.draw(&block);
        }
    }

    pub(super) fn wake_at(&self) -> Instant {
        match self.drawn {
            None => self.began,
            Some(drawn) => drawn + if self.changed { INTERVAL } else { HEARTBEAT },
        }
    }

    /// Takes the block off the screen and leaves what stands above it.
    pub(super) fn clear(&mut self) {
        self.draw(&[]);
    }

    fn block(&self, tally: &Tally, columns: usize, rows: usize) -> Vec<String> {
        // One column stays free: some terminals wrap when the last one is used.
        let fit = |line: &str| cut(line, columns.saturating_sub(1)).into_owned();
        let elapsed = duration(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let scene = &tally.scene;
        let title = format!("{} {}  {elapsed}  {}", harmless(&scene.workflow), harmless(&scene.run), tally.counts());
        let mut block = vec![fit(&title)];
        let most = RUNNING_LINES.min(rows.saturating_sub(4));
        for (&ix, running) in tally.running.iter().take(most) {
            let took = duration(u64::try_from(running.since.elapsed().as_millis()).unwrap_or(u64::MAX));
            block.push(fit(&format!("  {} {took:>6}  {}", tally.id(ix), running.line)));
        }
        if tally.running.len() > most {
            block.push(fit(&format!("  … and {} more running", tally.running.len() - most)));
        }
        let mut foot = vec![tally.spent()];
        if tally.scene.critical_path.len() > 1 {
            let path: Vec<&str> = tally.scene.critical_path.iter().take(20).map(|ix| tally.id(*ix)).collect();
            foot.push(format!("critical path: {}", path.join(" → ")));
        }
        foot.retain(|part| !part.is_empty());
        if !foot.is_empty() {
            block.push(fit(&format!("  {}", foot.join("  ·  "))));
        }
        block
    }

    /// Replaces the block in one write, so that nothing is ever seen half drawn.
    fn draw(&mut self, block: &[String]) {
        let mut text = String::new();
        if self.lines > 0 {
            let _ = write!(text, "\r\u{1b}[{}A\u{1b}[J", self.lines);
        }
        text.push_str(&self.above);
        for line in block {
            text.push_str(line);
            text.push('\n');
        }
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        self.above.clear();
        self.lines = block.len();
        self.drawn = Some(Instant::now());
        self.changed = false;
    }

    fn painted(&self, ending: Ending) -> String {
        match self.colour {
            Colour::On if ending == Ending::Failed => format!("\u{1b}[1;31m{}\u{1b}[0m", ending.word()),
            Colour::On => format!("\u{1b}[33m{}\u{1b}[0m", ending.word()),
            Colour::Off => ending.word().to_owned(),
        }
    }
}
