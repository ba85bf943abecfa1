//! Everything that is no workflow, or a strange one: it is refused in words that name the file, or it runs; soon, without
//! a panic, and whatever is refused has done nothing.

use std::time::Duration;

use serde_json::json;

use crate::place::{Chance, Ended, Place, cut};

/// What refusing may take on a busy machine and without optimisation.
const AT_MOST: Duration = Duration::from_secs(10);
/// The same for eight megabytes of tasks.
const AT_MOST_FOR_MANY: Duration = Duration::from_secs(60);

/// A workflow with something of everything; every shell task leaves a mark.
const GOOD: &str = r#"name: good
description: "All of it: quotes, 'inside', umlauts äöü and a → arrow"
inputs:
  who: { type: string, default: "you" }
  n: { type: integer, default: 3 }
execution_mode: parallel
defaults: { timeout: 20s, retry: { max: 1, initial: 10ms } }
limits: { max_parallelism: 4 }
agents:
  helper: { cli: claude, tools: [Read] }
tasks:
  - id: first
    name: The first
    run: 'echo first >> marker; printf "%s" "[1, 2]"'
    output_format: json
    priority: 3
  - id: second
    type: code_execution
    depends_on: [first]
    context: { all: "$OUTPUT[first]", greet: "hello $INPUT[who]" }
    code: |
      return { sum: all.reduce((a, b) => a + b, 0), greet };
    sandbox_config: { timeout: 5000, memoryLimit: 64 }
  - { id: third, depends_on: [{ task: second, type: soft }], run: ["sh", "-c", "echo third >> marker; echo $0", "$OUTPUT[second].greet"] }
edges:
  - { from: first, to: third, type: hard }
outputs: { sum: "$OUTPUT[second].sum", said: "$OUTPUT[third]" }
"#;

/// Characters that mean something to a reader of YAML.
const SIGNS: &[u8] = b"{}[]:,-'\"&*!|>%@`#\n\t $\\";

/// The run of whatever lies in a file: refused or done, but nothing in between.
#[track_caller]
fn judged(place: &Place, what: &str, name: &str) -> Ended {
    judged_within(AT_MOST, place, what, name)
}

#[track_caller]
fn judged_within(at_most: Duration, place: &Place, what: &str, name: &str) -> Ended {
    let ended = place.raddle(&["run", name, "--json"]);
    let told =
        format!("{what}: exit {:?}\n--- stdout\n{}\n--- stderr\n{}", ended.code, cut(&ended.out), cut(&ended.err));
    assert!(matches!(ended.code, Some(0..=2)), "{told}");
    for panic in ["panicked", "RUST_BACKTRACE", "unreachable", "stack overflow", "internal error"] {
        assert!(!ended.err.contains(panic), "{told}");
    }
    assert!(!ended.err.chars().any(|c| c.is_control() && c != '\n'), "{told}");
    if ended.code == Some(2) {
        assert!(ended.err.contains(name), "the file is not named. {told}");
        assert_eq!(place.text("marker"), "", "something ran. {told}");
        assert!(ended.out.is_empty(), "{told}");
    }
    assert!(ended.wall < at_most, "{:?}. {told}", ended.wall);
    ended
}

#[track_caller]
fn refused(what: &str, text: impl AsRef<[u8]>) -> Ended {
    refused_as(what, "wf.yaml", text)
}

#[track_caller]
fn refused_as(what: &str, name: &str, text: impl AsRef<[u8]>) -> Ended {
    let place = Place::new();
    place.file(name, text);
    let ended = judged(&place, what, name);
    assert_eq!(ended.code, Some(2), "{what} is accepted: {}", ended.err);
    ended
}

#[track_caller]
fn accepted(what: &str, name: &str, text: impl AsRef<[u8]>) -> serde_json::Value {
    let place = Place::new();
    place.file(name, text);
    judged(&place, what, name).exits(0).json()
}

fn one(body: &str) -> String {
    format!("tasks:\n  - {{ id: other, run: 'echo ran >> marker' }}\n  - {{ {body} }}\n")
}

#[test]
fn what_is_no_text_or_no_mapping_is_refused() {
    let good = GOOD.as_bytes();
    let utf_16 = |text: &str| {
        [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect::<Vec<u8>>()
    };
    let with = |at: usize, bytes: &[u8]| [&good[..at], bytes, &good[at..]].concat();
    let mut random = Chance::new(7);
    let noise: Vec<u8> = (0..100_000).map(|_| random.below(256) as u8).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("white space", b" \n\n  \n".to_vec()),
        ("only a comment", b"# tasks: []\n".to_vec()),
        ("noise", noise),
        ("a program", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0>\0\x01\0\0\0".to_vec()),
        ("UTF-16", utf_16(GOOD)),
        ("a NUL byte", with(300, b"\0")),
        ("Latin-1", with(40, b"\xe4")),
        ("an overlong encoding", with(40, b"\xc0\xaf")),
        ("a lone surrogate", with(40, b"\xed\xa0\x80")),
        ("a word", b"tasks".to_vec()),
        ("a list", b"- a\n- b\n".to_vec()),
        ("a number", b"42\n".to_vec()),
        ("null", b"null\n".to_vec()),
        ("HTML", b"<!DOCTYPE html><html><body>404</body></html>".to_vec()),
        ("two documents", b"tasks: [{ id: a, run: 'true' }]\n---\ntasks: []\n".to_vec()),
        ("a tab for indentation", b"tasks:\n\t- id: a\n".to_vec()),
        ("no tasks", b"tasks: []\n".to_vec()),
        ("tasks of a wrong type", b"tasks: { a: 1 }\n".to_vec()),
        ("a task of a wrong type", b"tasks: [7, null, x]\n".to_vec()),
    ];
    for (what, text) in cases {
        refused(what, text);
    }
}

#[test]
fn what_is_too_big_too_deep_or_a_bomb_is_refused_soon() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        bomb += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "));
    }
    let mut staircase = String::from("tasks:\n");
    for i in 1..3000 {
        staircase += &format!("{}- \n", " ".repeat(i));
    }
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("50 MB", "wf.yaml", vec![b'x'; 50_000_000]),
        ("50 MB of comment", "wf.yaml", [b"# ".repeat(25_000_000), GOOD.into()].concat()),
        ("deep flow", "wf.yaml", b"tasks: ".iter().copied().chain([b'['; 100_000]).collect()),
        ("deep mappings", "wf.yaml", b"{a: ".repeat(50_000)),
        ("deep JSON", "wf.json", br#"{"tasks":"#.repeat(50_000)),
        ("deep JSON lists", "wf.json", vec![b'['; 1_000_000]),
        ("a staircase", "wf.yaml", staircase.into()),
        ("an alias bomb", "wf.yaml", (bomb.clone() + "tasks: *a11\n").into()),
        (
            "an alias bomb in a value",
            "wf.yaml",
            (bomb + &one("id: a, type: code_execution, code: '1', context: { x: *a11 }")).into(),
        ),
        ("an anchor in itself", "wf.yaml", b"tasks: &t [ *t ]\n".to_vec()),
        ("a long id", "wf.yaml", one(&format!("id: {}, run: 'true'", "a".repeat(1_000_000))).into()),
    ];
    for (what, name, text) in cases {
        let ended = refused_as(what, name, text);
        assert!(ended.err.len() < 100_000, "{what}: the message has {} bytes", ended.err.len());
    }
}

#[test]
fn a_hundred_thousand_tasks_are_checked_and_their_faults_are_not_all_recited() {
    let place = Place::new();
    let mut text = String::from("tasks:\n");
    for n in 0..100_000 {
        text += &format!("  - {{ id: t{n}, run: 'echo ran >> marker', depends_on: [t{}] }}\n", (n + 1) % 100_000);
    }
    place.file("wf.yaml", &text);
    let ended = judged_within(AT_MOST_FOR_MANY, &place, "a ring of 100 000", "wf.yaml").exits(2);
    assert!(ended.err.contains("cycle") && ended.err.len() < 1_000_000, "{} bytes", ended.err.len());
    place.file("wf.yaml", text.replace("depends_on: [t0]", "depends_on: []"));
    let ended = place.raddle(&["validate", "wf.yaml"]);
    assert!(
        ended.wall < AT_MOST_FOR_MANY && matches!(ended.code, Some(0 | 2)),
        "{:?}: {}",
        ended.wall,
        cut(&ended.err)
    );
}

#[test]
fn tasks_with_impossible_values_are_refused() {
    let cases = [
        "id: a",
        "run: 'echo ran >> marker'",
        "id: '', run: 'true'",
        "id: '../a', run: 'true'",
        "id: 'a b', run: 'true'",
        "id: \"a\\tb\", run: 'true'",
        "id: \"a\\u0000b\", run: 'true'",
        "id: \"\\u0430dmin\", run: 'true'",
        "id: \"a\\u202eb\", run: 'true'",
        "id: .hidden, run: 'true'",
        "id: a, run: ''",
        "id: a, run: []",
        "id: a, run: \"echo a\\u0000b\"",
        "id: a, run: 'true', depends_on: [a]",
        "id: a, run: 'true', depends_on: [other, other, zz]",
        "id: a, run: 'true', depends_on: [{ task: other, type: firm }]",
        "id: a, run: 'true', depends_on: 7",
        "id: a, run: 'true', dependencies: [other], depends_on: []",
        "id: a, run: 'true', timeout: -5",
        "id: a, run: 'true', timeout: 0",
        "id: a, run: 'true', timeout: 1e400",
        "id: a, run: 'true', timeout: .nan",
        "id: a, run: 'true', timeout: 99999999999999999999s",
        "id: a, run: 'true', timeout: soon",
        "id: a, run: 'true', timeout: [5s]",
        "id: a, run: 'true', priority: high",
        "id: a, run: 'true', priority: 99999999999999999999",
        "id: a, run: 'true', priority: 1.5",
        "id: a, run: 'true', retry: { max: -1 }",
        "id: a, run: 'true', retry: { max: 1000000000000 }",
        "id: a, run: 'true', retry: { max: 2, factor: 0 }",
        "id: a, run: 'true', retry: { max: 2, jitter: 7 }",
        "id: a, run: 'true', retry: { max: 2, on: [weather] }",
        "id: a, run: 'true', output_format: xml",
        "id: a, run: 'true', output_schema: { type: 12 }",
        "id: a, run: 'true', side_effects: 'yes please'",
        "id: a, run: 'true', on_doubt: maybe",
        "id: a, run: 'true', env: { 'A=B': x }",
        "id: a, run: 'true', env: [x]",
        "id: a, run: 'true', dependsOn: [other]",
        "id: a, run: 'true', prompt: both",
        "id: a, run: 'true', unknown_key: 1",
        "id: a, run: 'true', when: '=='",
        "id: a, run: 'true', fallback: nobody",
        "id: a, run: 'true', fallback: a",
        "id: a, agent: nosuch, prompt: x",
        "id: a, tool: nocolon",
        "id: a, tool: 'nosuch:tool'",
        "id: a, type: code_execution, code: '1', code_file: x.ts",
        "id: a, type: code_execution, code_file: nosuch.ts",
        "id: a, type: code_execution, code: '1', sandbox_config: { memoryLimit: -3 }",
        "id: a, type: code_execution, code: '1', sandbox_config: { memoryLimit: 999999999999TB }",
        "id: a, type: other_kind, code: '1'",
        "id: a, run: [echo, '$OUTPUT[zz]']",
        "id: a, run: [echo, '$OUTPUT[a]']",
        "id: a, run: [echo, '$OUTPUT[']",
        "id: a, run: [echo, '$INPUT[undeclared]']",
        "id: a, run: 'echo $OUTPUT[other]', depends_on: [other]",
        "id: a, id: b, run: 'true'",
        "id: !!python/object/apply:os.system ['touch marker'], run: 'true'",
        "id: *nosuch, run: 'true'",
    ];
    for body in cases {
        let ended = refused(body, one(body));
        assert!(ended.err.contains("wf.yaml:3:"), "the line is not told for {body}: {}", ended.err);
    }
}

#[test]
fn strange_but_legal_files_run() {
    let expected = json!({"sum": 3, "said": "hello you"});
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("as it is", "wf.yaml", GOOD.into()),
        ("a byte order mark", "wf.yaml", format!("\u{feff}{GOOD}").into()),
        ("CRLF", "wf.yaml", GOOD.replace('\n', "\r\n").into()),
        ("a document start", "wf.yaml", format!("%YAML 1.2\n---\n{GOOD}...\n").into()),
        ("another ending", "workflow.txt", GOOD.into()),
        ("a strange name", "wf ünd 'mehr' $(touch marker).yaml", GOOD.into()),
    ];
    for (what, name, text) in cases {
        assert_eq!(accepted(what, name, text)["outputs"], expected, "{what}");
    }
    let anchors = "tasks:\n  - { id: a, env: &e { X: one }, run: 'echo $X' }\n  - { id: b, env: *e, depends_on: [a], run: 'echo $X' }\n";
    assert_eq!(accepted("anchors", "wf.yaml", anchors)["outputs"], json!({"b": "one"}));
    let escapes =
        "name: \"\\e[31mred\\a\"\ntasks: [{ id: a, name: \"\\e]0;title\\a\", run: 'printf \"\\033[31mred\"' }]\n";
    let document = accepted("terminal escapes", "wf.yaml", escapes);
    assert_eq!(
        (&document["workflow"], &document["outputs"]["a"]),
        (&json!("\u{1b}[31mred\u{7}"), &json!("\u{1b}[31mred"))
    );
}

#[test]
fn escapes_of_files_and_tasks_never_reach_the_terminal_raw() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "name: \"\\e]0;owned\\a\"\ndescription: \"\\e[2J\"\ntasks:
  - { id: a, name: \"\\e[31mred\\x9b2J\", run: 'printf \"\\033]0;owned\\007\\033[2J\\302\\2332J\" >&2; exit 1' }
  - { id: b, name: \"\\u202eright to left\", depends_on: [a], run: 'true' }
",
    );
    for (words, code) in [
        (["run", "wf.yaml"].as_slice(), 1),
        (&["plan", "wf.yaml"], 0),
        (&["ps"], 0),
        (&["show", "last"], 0),
        (&["logs", "last"], 0),
        (&["why", "last", "a"], 0),
        (&["watch", "last"], 0),
        (&["run", "\u{1b}[31mnosuch"], 2),
        (&["show", "\u{1b}[31mnosuch"], 2),
        (&["validate", "wf.yaml"], 0),
    ] {
        let ended = place.raddle(words).exits(code);
        let bad = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{202e}';
        assert!(!format!("{}{}", ended.out, ended.err).contains(bad), "{words:?}: {:?} {:?}", ended.out, ended.err);
    }
}

#[test]
fn yaml_and_json_beyond_the_plain_are_refused_by_name() {
    refused("merge keys", "x: &x { run: 'true' }\ntasks: [{ id: a, <<: *x }]\n");
    refused("a merge key in a task", one("<<: { run: 'echo ran >> marker' }, id: a"));
    refused("a tag", one("id: a, run: !!binary 'ZWNobyByYW4='"));
    refused("a local tag", one("id: a, run: !shell 'echo ran >> marker'"));
    refused("a complex key", "? [a, b]\n: 1\ntasks: [{ id: a, run: 'true' }]\n");
    refused_as("JSON with comments", "wf.json", "{ // no\n \"tasks\": [{\"id\": \"a\", \"run\": \"true\"}] }");
    refused_as("a trailing comma", "wf.json", "{\"tasks\": [{\"id\": \"a\", \"run\": \"true\"},]}");
    refused_as("a doubled key", "wf.json", "{\"tasks\": [{\"id\": \"a\", \"run\": \"true\"}], \"tasks\": []}");
    refused_as("words after the end", "wf.json", "{\"tasks\": [{\"id\": \"a\", \"run\": \"true\"}]} more");
    refused_as("JSON's infinity", "wf.json", "{\"tasks\": [{\"id\": \"a\", \"run\": \"true\", \"timeout\": 1e999}]}");
    refused_as(
        "half of a character",
        "wf.json",
        "{\"name\": \"\\ud800\", \"tasks\": [{\"id\": \"a\", \"run\": \"true\"}]}",
    );
}

#[test]
fn a_good_file_cut_anywhere_is_refused_or_runs_but_never_half() {
    let place = Place::new();
    // Validated only: many a beginning of a workflow is one.
    for end in (0..GOOD.len()).step_by(7) {
        place.file("wf.yaml", &GOOD.as_bytes()[..end]);
        validated(&place, &format!("the first {end} bytes"));
    }
}

#[test]
fn a_good_file_with_random_changes_is_refused_or_valid() {
    let place = Place::new();
    let seed = std::env::var("RADDLE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1_u64);
    println!("seed {seed}");
    let mut chance = Chance::new(seed);
    for n in 0..200 {
        let mut bytes = GOOD.as_bytes().to_vec();
        for _ in 0..=chance.below(3) {
            let at = chance.below(bytes.len() as u64) as usize;
            let to = (at + 1 + chance.below(40) as usize).min(bytes.len());
            match chance.below(5) {
                0 => bytes[at] = chance.below(256) as u8,
                1 => drop(bytes.drain(at..to)),
                2 => bytes.insert(at, SIGNS[chance.below(SIGNS.len() as u64) as usize]),
                3 => bytes.splice(at..at, bytes[at..to].to_vec()).for_each(drop),
                _ => bytes.swap(at, to - 1),
            }
        }
        place.file("wf.yaml", &bytes);
        validated(&place, &format!("change {n} of seed {seed}"));
    }
}

#[track_caller]
fn validated(place: &Place, what: &str) {
    let ended = place.raddle(&["validate", "wf.yaml"]);
    let told = || format!("{what}: exit {:?}\n{}\n---\n{}", ended.code, ended.err, place.text("wf.yaml"));
    assert!(matches!(ended.code, Some(0 | 2)), "{}", told());
    assert!(ended.code == Some(0) || ended.err.contains("wf.yaml"), "{}", told());
    assert!(ended.wall < AT_MOST && !ended.err.contains("panicked"), "{}", told());
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let place = Place::new();
    std::fs::create_dir(place.work("folder")).expect("a folder can be made");
    std::os::unix::fs::symlink("loop", place.work("loop")).expect("a link can be made");
    place.file("dir/fine.yaml", GOOD);
    for name in ["nosuch.yaml", "folder", "loop", "dir/fine.yaml/more", "/dev/null", "/proc/self/mem"] {
        judged(&place, name, name).exits(2);
    }
    let long = "x".repeat(5000);
    place.raddle(&["run", &long]).exits(2);
    place.raddle_with_stdin(&["run", "-"], b"\xff\xfe nothing").exits(2);
    place.raddle_with_stdin(&["run", "-"], &vec![b'x'; 20_000_000]).exits(2);
    place.raddle(&["run", "{"]).exits(2);
    place.raddle(&["run", "{\"tasks\": [{\"id\": \"a\"}]}"]).exits(2);
}

#[test]
fn bad_configuration_is_named_with_its_line() {
    for (text, line) in [
        ("not toml at all", "raddle.toml:1"),
        ("[dag_execution]\nmax_parallelism = \"many\"\n", "raddle.toml:2"),
        ("[dag_execution]\nmax_parallelism = -1\n", "raddle.toml:2"),
        ("[dag_execution]\nmax_parallelizm = 3\n", "raddle.toml:2"),
        ("[clis.x]\ncommand = []\n", "x"),
        ("[clis.x]\nprompt = \"telepathy\"\ncommand = [\"x\"]\n", "raddle.toml"),
        ("[models.x]\ninput_usd_per_mtok = -1\n", "raddle.toml:2"),
        ("[a]\n[a]\n", "raddle.toml:2"),
        ("\u{0}", "raddle.toml"),
    ] {
        let place = Place::new();
        place.file("wf.yaml", one("id: a, run: 'true'"));
        place.file("raddle.toml", text);
        let ended = place.raddle(&["run", "wf.yaml"]).exits(2);
        assert!(ended.err.contains(line), "{text:?}: {}", ended.err);
        assert_eq!(place.text("marker"), "", "{text:?}");
    }
    let place = Place::new();
    place.file("wf.yaml", one("id: a, run: 'true'"));
    place.file("raddle.toml", [0xff, 0xfe, 0x00]);
    assert!(place.raddle(&["run", "wf.yaml"]).exits(2).err.contains("raddle.toml"));
    place.file("raddle.toml", "# ".repeat(20_000_000));
    assert!(place.raddle(&["run", "wf.yaml"]).exits(2).err.contains("raddle.toml"));
}

#[test]
fn bad_files_of_agents_and_servers_are_told_when_they_matter() {
    let uses =
        [(".mcp.json", "id: a, tool: 'git:log'"), (".claude/agents/helper.md", "id: a, agent: helper, prompt: x")];
    for (name, body) in uses {
        // What an agent is told may be any text, so only what is none is bad there.
        let bad = [vec![0xff, 0x00], vec![b'x'; 30_000_000], b"{".to_vec(), vec![b'['; 200_000], vec![]];
        for text in if name == ".mcp.json" { &bad[..] } else { &bad[..2] } {
            let place = Place::new();
            place.file("wf.yaml", one(body));
            place.file(name, text);
            let ended = judged(&place, name, "wf.yaml").exits(2);
            assert!(ended.err.len() < 100_000, "{name}: {} bytes", ended.err.len());
            // Who does not use them is not held up by them.
            place.file("wf.yaml", "tasks: [{ id: a, run: 'true' }]\n");
            judged(&place, name, "wf.yaml").exits(0);
        }
    }
}

#[test]
fn bad_words_on_the_command_line_are_refused() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "inputs: { n: { type: integer }, s: { type: string, default: x } }\ntasks: [{ id: a, run: 'echo ran >> marker' }]\n",
    );
    place.file("list.json", "[1]");
    place.file("half.json", "{\"n\": ");
    place.file("typed.json", "{\"n\": \"three\"}");
    place.file("deep.json", "[".repeat(100_000));
    for more in [
        [].as_slice(),
        &["--input", "n"],
        &["--input", "n=three"],
        &["--input", "n=1.5"],
        &["--input", "n="],
        &["--input", "=3"],
        &["--input", "n=3", "--input", "zz=1"],
        &["--inputs-file", "nosuch.json"],
        &["--inputs-file", "list.json"],
        &["--inputs-file", "half.json"],
        &["--inputs-file", "typed.json"],
        &["--inputs-file", "deep.json"],
        &["--inputs-file", "."],
        &["--input", "n=3", "--events", "nosuch/folder/events"],
        &["--input", "n=3", "--events", "."],
        &["--input", "n=3", "--events", "-", "--json"],
        &["--input", "n=3", "--max-parallel", "0"],
        &["--input", "n=3", "--max-parallel", "many"],
        &["--input", "n=3", "--max-parallel", "99999999999999999999"],
        &["--input", "n=3", "--mode", "fast"],
        &["--input", "n=3", "--parallelism", "-1"],
        &["--input", "n=3", "--only", "nosuch"],
        &["--input", "n=3", "--from", "nosuch"],
        &["--input", "n=3", "--nosuch"],
        &["--input", "n=3", "--budget", "5"],
        &["--input", "n=3", "sideways"],
    ] {
        let words: Vec<&str> = ["run", "wf.yaml"].iter().chain(more).copied().collect();
        let ended = place.raddle(&words).exits(2);
        assert!(!ended.err.trim().is_empty() && ended.wall < AT_MOST, "{words:?}");
        assert_eq!(place.text("marker"), "", "{words:?}");
    }
    for words in [["show", "../../etc/passwd"], ["resume", ""], ["logs", "*"], ["why", "last"], ["trace", "zzzz"]] {
        place.raddle(&words).exits(2);
    }
}
