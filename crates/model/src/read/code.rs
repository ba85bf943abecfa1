//! Faults in the code of code tasks, told at their place in the workflow's file. It does not know the language; whoever
//! brings the texts does.

use super::{CodeFault, Reading};
use crate::diagnostic::quoted;
use crate::syntax::Span;

/// Tells what is wrong with the code that stands at `span`, or in the file that is named there.
pub(super) fn check(code: &str, file: Option<&str>, span: Span, cx: &mut Reading<'_, '_>) {
    let digest = blake3::hash(code.as_bytes());
    if cx.sound_code.contains(&digest) {
        return;
    }
    let Some(CodeFault { message, place }) = cx.sources.code_fault(code) else {
        cx.sound_code.insert(digest);
        return;
    };
    let found = place.filter(|_| file.is_none()).and_then(|place| in_file(cx.text, span, code, place));
    let at = match (file, place) {
        (Some(file), Some((line, column))) => format!("{}:{line}:{column}: ", quoted(file)),
        (Some(file), None) => format!("{}: ", quoted(file)),
        (None, Some((line, column))) if found.is_none() => format!("line {line}, column {column} of the code: "),
        (None, _) => String::new(),
    };
    cx.sink
        // Only its own task fails for it, and as safely as that task may; who only validates takes it for an error.
        .warning("bad-code", found.unwrap_or(span), format!("{at}{message}"))
        .help("code is the body of an async function, in TypeScript or JavaScript");
}

/// The place in the file, where the lines of the code stand in it as they are: not where they are folded or escaped.
fn in_file(text: &str, span: Span, code: &str, (line, column): (u32, u32)) -> Option<Span> {
    let begin = text.get(..span.start as usize)?.rfind('\n').map_or(0, |at| at + 1);
    let wanted = code.lines().nth(line as usize - 1)?;
    let first = code.lines().position(|line| !line.trim().is_empty())?;
    let first_words = code.lines().nth(first)?.trim();
    let end = (span.end.max(span.start)) as usize;
    let mut lines: Vec<(usize, &str)> = Vec::new();
    let mut at = begin;
    for line in text[begin..].split_inclusive('\n') {
        if at > end {
            break;
        }
        lines.push((at, line));
        at += line.len();
    }
    let first_of_all = lines.iter().position(|(_, line)| line.contains(first_words))?;
    let (start, held) = lines.get((first_of_all + line as usize - 1).checked_sub(first)?)?;
    let within = held.find(wanted.trim_end()).filter(|_| !wanted.trim().is_empty())?;
    let into: usize = wanted.chars().take(column as usize - 1).map(char::len_utf8).sum();
    let at = start + within + into;
    let letter = text.get(at..)?.chars().next().map_or(0, char::len_utf8);
    Some(Span { start: at as u32, end: (at + letter) as u32 })
}
