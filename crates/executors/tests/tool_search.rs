//! Search among a thousand tools: how often the first one is the one that was meant, and how long it takes. The wishes in
//! `tool_search/wanted.txt` were written in the words of people, beside the list of things and not from it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use raddle_executors::tool_search::{Described, Index};
use serde_json::{Value, json};

const THINGS: &str = include_str!("tool_search/things.txt");
const WANTED: &str = include_str!("tool_search/wanted.txt");
/// Wishes that the search was never adjusted to.
const HELD_OUT: &str = include_str!("tool_search/held_out.txt");
/// Fifty more, written last and before any adjusting: people speak of lamps and jabs, not of lights and vaccines.
const FRESH: &str = include_str!("tool_search/fresh.txt");
/// Deeds, and how a server describes them.
const DEEDS: [(&str, bool, &str); 8] = [
    ("list", true, "List the THINGS, newest first, in pages."),
    ("search", true, "Search THINGS by text."),
    ("get", false, "Get one THING with all its details."),
    ("create", false, "Create a THING."),
    ("update", false, "Update some fields of a THING."),
    ("delete", false, "Delete a THING for good."),
    ("export", true, "Export THINGS to a CSV file."),
    ("share", false, "Share a THING with another user."),
];

struct Tool {
    name: String,
    description: String,
    parameters: Value,
}

fn plural(thing: &str) -> String {
    match thing.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o']) => format!("{stem}ies"),
        _ if thing.ends_with('x') || thing.ends_with("ss") || thing.ends_with("ch") => format!("{thing}es"),
        _ => format!("{thing}s"),
    }
}

/// Every deed with every thing of every server.
fn tools() -> Vec<Tool> {
    let mut tools = Vec::new();
    for line in THINGS.lines() {
        let (server, things) = line.split_once(':').unwrap();
        for thing in things.split(',').map(str::trim) {
            for (deed, many, description) in DEEDS {
                // The files of a download are named one by one, as servers do.
                let of = if many && !(deed == "export" && matches!(thing, "attachment" | "artifact")) {
                    plural(thing)
                } else {
                    thing.to_owned()
                };
                tools.push(Tool {
                    name: format!("{server}:{deed}_{}", of.replace(' ', "_")),
                    description: description.replace("THINGS", &plural(thing)).replace("THING", thing),
                    parameters: json!({"type": "object", "properties": {
                        "id": {"type": "string", "description": format!("Id of the {thing}")},
                        "limit": {"type": "integer", "description": "How many at most"},
                    }}),
                });
            }
        }
    }
    tools
}

fn index(tools: &[Tool]) -> Index {
    Index::new(tools.iter().map(|tool| Described {
        name: &tool.name,
        description: &tool.description,
        parameters: &tool.parameters,
    }))
}

#[test]
fn the_first_of_a_thousand_is_mostly_the_one_that_was_meant() {
    let tools = tools();
    assert!(tools.len() >= 1000, "{}", tools.len());
    let index = index(&tools);
    for (wishes, least) in [(WANTED, 40), (HELD_OUT, 15), (FRESH, 8)] {
        let (mut first, mut among_five, mut missed) = (0, 0, Vec::new());
        let wanted: Vec<(&str, &str)> = wishes.lines().map(|line| line.split_once(" | ").unwrap()).collect();
        for (words, meant) in &wanted {
            assert!(tools.iter().any(|tool| tool.name == *meant), "there is no {meant}");
            let found: Vec<&str> = index.search(words, 5).into_iter().map(|at| tools[at].name.as_str()).collect();
            first += usize::from(found.first() == Some(meant));
            among_five += usize::from(found.contains(meant));
            if found.first() != Some(meant) {
                missed.push(format!("{words}: {meant}, found {found:?}"));
            }
        }
        tell(&format!("{first} first and {among_five} among five, of {}", wanted.len()));
        assert!(first >= least, "{}", missed.join("\n"));
    }
}

#[expect(clippy::print_stderr, reason = "the figures are worth seeing")]
fn tell(line: &str) {
    eprintln!("{line}");
}

/// Prints the figures; the bound is far above what a release build needs.
#[test]
fn a_search_takes_no_time_to_speak_of() {
    let tools = tools();
    let began = Instant::now();
    let index = index(&tools);
    let building = began.elapsed();
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..20 {
        for (words, _) in WANTED.lines().filter_map(|line| line.split_once(" | ")) {
            let began = Instant::now();
            index.search(words, 64);
            times.push(began.elapsed());
        }
    }
    times.sort_unstable();
    let (half, most) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    tell(&format!("{} tools: built in {building:?}; a search {half:?}, 95 of 100 within {most:?}", tools.len()));
    assert!(half < Duration::from_millis(50), "{half:?}");
}
