//! The page of the command line: every command's own help, as it is printed. It does not know what commands do.

use std::process::Command;

use crate::{MADE, page};

fn help(words: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_raddle"))
        .args(words)
        .arg("--help")
        .env_clear()
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    assert!(out.status.success(), "{words:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let named = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    named.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_command_line() {
    let whole = help(&[]);
    let mut text = format!("{MADE}# Command line\n\n```text\n{whole}```\n");
    let first = commands(&whole);
    assert!(first.len() > 20, "{first:?}");
    for command in &first {
        let own = help(&[command]);
        text.push_str(&format!("\n## raddle {command}\n\n```text\n{own}```\n"));
        for inner in commands(&own) {
            text.push_str(&format!("\n### raddle {command} {inner}\n\n```text\n{}```\n", help(&[command, &inner])));
        }
    }
    page("cli.md", &text);
}
