//! The progress of a run on stderr: a live block on a terminal, plain lines elsewhere, nothing when quiet. A display
//! is a reader of [`event::Happening`]s; it does not know the engine, the kernel or the journal.
//!
//! The engine's loop calls [`Display::show`] for what happens, and [`Display::idle`] before it sleeps, no later than
//! [`Display::wake_at`].

pub mod event;
mod live;
mod plain;
mod tally;

use std::io::{IsTerminal, Stderr, stderr};
use std::time::Instant;

use event::{Happening, Scene};
use live::Live;
use plain::Plain;
use tally::Tally;

use crate::terminal::Colour;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loudness {
    /// `--quiet`.
    Quiet,
    /// Everything.
    Normal,
}

/// The display of one run.
pub struct Display {
    tally: Tally,
    screen: Screen,
}

enum Screen {
    Quiet,
    Plain(Plain<Stderr>),
    Live(Live<Stderr>),
}

impl Display {
    /// Chooses by what stderr is: a terminal that understands cursor movement gets the live block.
    pub fn new(scene: Scene, loudness: Loudness, colour: Colour) -> Display {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let screen = match loudness {
            Loudness::Quiet => Screen::Quiet,
            Loudness::Normal if stderr().is_terminal() && !dumb => Screen::Live(Live::new(stderr(), size, colour)),
            Loudness::Normal => Screen::Plain(Plain::new(stderr())),
        };
        Display { tally: Tally::new(scene), screen }
    }

    /// Takes in what happened. Cheap: nothing is written but full buffers and last words.
    pub fn show(&mut self, event: Happening<'_>) {
        match &mut self.screen {
            Screen::Quiet => {}
            Screen::Plain(plain) => {
                self.tally.take(&event);
                plain.show(&self.tally, &event);
            }
            Screen::Live(live) => {
                self.tally.take(&event);
                live.show(&self.tally, &event);
            }
        }
    }

    /// Writes what is due; called when the engine has nothing else to do.
    pub fn idle(&mut self) {
        match &mut self.screen {
            Screen::Quiet => {}
            Screen::Plain(plain) => plain.idle(),
            Screen::Live(live) => live.idle(&self.tally),
        }
    }

    /// When [`Display::idle`] wants to be called next; `None` when nothing is waiting.
    pub fn wake_at(&self) -> Option<Instant> {
        match &self.screen {
            Screen::Quiet => None,
            Screen::Plain(plain) => plain.wake_at(),
            Screen::Live(live) => Some(live.wake_at()),
        }
    }
}

impl Drop for Display {
    // A run that ends by an error must not leave half a block or swallowed lines behind.
    fn drop(&mut self) {
        match &mut self.screen {
            Screen::Quiet => {}
            Screen::Plain(plain) => plain.flush(),
            Screen::Live(live) => live.clear(),
        }
    }
}

fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
        _ => (80, 24),
    }
}

#[cfg(test)]
mod tests {
    use super::event::Ending;
    use super::*;

    fn scene() -> Scene {
        Scene {
            run: "r1".to_owned(),
            workflow: "flow".to_owned(),
            tasks: ["build", "test", "deploy"].map(Into::into).into(),
            critical_path: vec![0, 2],
        }
    }

    fn story() -> Vec<Happening<'static>> {
        vec![
            Happening::Started { ix: 0, attempt: 1 },
            Happening::Progress { ix: 0, line: "\u{1b}[31mcompiling" },
            Happening::Retrying { ix: 0, message: "exit status 1\nmore", after_ms: 1_000 },
            Happening::Started { ix: 0, attempt: 2 },
            Happening::Settled { ix: 0, ending: Ending::Completed, ms: 1_250, message: "" },
            Happening::Used { tokens: 12_345, cost_usd: Some(0.02834) },
            Happening::Started { ix: 1, attempt: 1 },
            Happening::Settled { ix: 1, ending: Ending::Failed, ms: 10, message: "exit status 3: \u{7}no" },
            Happening::Settled { ix: 2, ending: Ending::Blocked, ms: 0, message: "by test" },
            Happening::Finished,
        ]
    }

    #[test]
    fn plain_lines_name_every_task_when_it_starts_and_settles() {
        let (mut tally, mut out) = (Tally::new(scene()), Vec::new());
        let mut plain = Plain::new(&mut out);
        for event in story() {
            tally.take(&event);
            plain.show(&tally, &event);
        }
        drop(plain);
        let text = String::from_utf8(out).expect("the display writes text");
        let timeless: String = text
            .lines()
            .map(|line| {
                if line.as_bytes().get(2) == Some(&b':') {
                    format!("HH:MM:SS{}\n", &line[8..])
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        insta::assert_snapshot!(timeless);
    }

    #[test]
    fn lines_wait_until_the_engine_is_idle() {
        let tally = Tally::new(scene());
        let mut out = Vec::new();
        let mut plain = Plain::new(&mut out);
        assert!(plain.wake_at().is_none());
        plain.show(&tally, &Happening::Started { ix: 0, attempt: 1 });
        assert!(plain.wake_at().is_some());
        plain.flush();
        assert!(plain.wake_at().is_none());
        drop(plain);
        assert!(out.ends_with(b"start   build\n"));
    }

    #[test]
    fn the_live_block_fits_its_terminal_and_leaves_failures_above() {
        let (mut tally, mut out) = (Tally::new(scene()), Vec::new());
        let mut live = Live::new(&mut out, || (50, 10), Colour::Off);
        for event in &story()[..2] {
            tally.take(event);
            live.show(&tally, event);
        }
        live.idle(&tally);
        for event in &story()[2..] {
            tally.take(event);
            live.show(&tally, event);
        }
        drop(live);
        let text = String::from_utf8(out).expect("the display writes text");
        let (block, rest) = text.split_once("\r\u{1b}[3A\u{1b}[J").expect("three lines were drawn and taken away");
        let lines: Vec<&str> = block.lines().collect();
        assert!(lines[0].starts_with("flow r1  ") && lines[0].ends_with("1 running · 2 to go"), "{block}");
        assert!(lines[1].contains("build") && lines[1].contains("\\u{1b}[31mcompiling"), "{block}");
        assert_eq!(lines[2], "  critical path: build → deploy");
        assert!(rest.contains("failed test: exit status 3: \\u{7}no\n"), "{rest}");
        assert!(!rest.contains('\u{1b}'), "{rest}");
    }
}
