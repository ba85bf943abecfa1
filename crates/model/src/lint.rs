//! A look at the words of JavaScript or TypeScript code: does it reach for the network, files or processes? It does
//! not parse; a small tokenizer keeps strings, comments and regular expressions apart from code.

/// Names that reach out when called.
const CALLED: &[&str] = &["fetch", "require", "XMLHttpRequest", "WebSocket", "EventSource", "Worker"];
/// Names that reach out when something of theirs is used.
const USED: &[&str] = &["process", "Deno", "Bun", "child_process"];
/// Names that read files; fine where paths are allowed.
const FILES: &[&str] = &["fs", "Deno"];

/// What the code reaches for, each once. `declared` are names that come from `context:`.
pub(crate) fn effects(code: &str, declared: &[&str], may_read_files: bool) -> Vec<String> {
    let tokens = tokens(code);
    let text = |n: usize| tokens.get(n).map_or("", |t| *t);
    let mut own: Vec<&str> = declared.to_vec();
    for n in 0..tokens.len() {
        if matches!(text(n), "const" | "let" | "var" | "function" | "class") {
            own.extend(declared_at(&tokens, n + 1));
        }
        if text(n + 1) == "=>" && is_name(text(n)) {
            own.push(text(n));
        }
    }
    let mut found: Vec<String> = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        let after_dot = n > 0 && matches!(tokens[n - 1], "." | "?.");
        if after_dot || !is_name(token) || own.contains(token) {
            continue;
        }
        let next = text(n + 1);
        let reaches = if *token == "import" {
            next == "(" || is_name(next) || matches!(next, "{" | "*" | "\"")
        } else if may_read_files && FILES.contains(token) {
            false
        } else {
            (CALLED.contains(token) && matches!(next, "(" | "?."))
                || ((USED.contains(token) || *token == "fs") && matches!(next, "." | "[" | "?."))
        };
        if reaches && !found.iter().any(|f| f == token) {
            found.push((*token).to_owned());
        }
    }
    found
}

/// Names declared by a `const`, `let`, `var`, `function` or `class`: one, or all inside a destructuring pattern, or
/// the parameters of a function.
fn declared_at<'a>(tokens: &[&'a str], from: usize) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut depth = 0;
    for token in tokens[from.min(tokens.len())..].iter().take(200) {
        match *token {
            "{" | "[" | "(" => depth += 1,
            "}" | "]" | ")" => depth -= 1,
            name if is_name(name) => names.push(name),
            _ => {}
        }
        let is_function = names.len() == 1 && depth == 0 && is_name(token);
        if depth < 0 || (depth == 0 && !is_function) {
            break;
        }
    }
    names
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '$'))
}

const KEYWORDS: &[&str] = &[
    "arguments",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "context",
    "continue",
    "debugger",
    "default",
    "delete",
    "deps",
    "do",
    "else",
    "enum",
    "eval",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "let",
    "new",
    "null",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "undefined",
    "var",
    "void",
    "while",
    "with",
    "yield",
];

/// Whether a key of `context:` can be a variable.
pub(crate) fn is_variable(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$');
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit()) && !KEYWORDS.contains(&name)
}

/// Names and punctuation; a string is the token `"`, comments, numbers and regular expressions are left out.
fn tokens(code: &str) -> Vec<&str> {
    let bytes = code.as_bytes();
    let mut tokens: Vec<&str> = Vec::new();
    // Depths of braces at which a template's `${` was opened.
    let mut templates: Vec<usize> = Vec::new();
    let mut braces = 0;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &code[at..];
        match bytes[at] {
            b if b.is_ascii_whitespace() => at += 1,
            b'/' if rest.starts_with("//") => at += rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => at += rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            b'/' if begins_expression(tokens.last().copied()) => at += regex(rest),
            quote @ (b'"' | b'\'') => {
                tokens.push("\"");
                at += string(&bytes[at..], quote);
            }
            b'`' => {
                tokens.push("\"");
                at = template(bytes, at + 1, &mut templates, braces);
            }
            b'}' if templates.last() == Some(&braces) => {
                templates.pop();
                at = template(bytes, at + 1, &mut templates, braces);
            }
            b'0'..=b'9' => at += rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len()),
            _ => {
                let c = rest.chars().next().unwrap_or(' ');
                let length = if is_name(rest) {
                    rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$'))).unwrap_or(rest.len())
                } else if rest.starts_with("=>")
                    || (rest.starts_with("?.") && !rest[2..].starts_with(|c: char| c.is_ascii_digit()))
                {
                    2
                } else {
                    c.len_utf8()
                };
                match c {
                    '{' => braces += 1,
                    '}' => braces = braces.saturating_sub(1),
                    _ => {}
                }
                tokens.push(&rest[..length]);
                at += length;
            }
        }
    }
    tokens
}

/// Whether a slash after this token begins a regular expression rather than divides.
fn begins_expression(before: Option<&str>) -> bool {
    match before {
        None => true,
        Some("return" | "typeof" | "case" | "in" | "of" | "void" | "delete" | "await" | "yield" | "throw") => true,
        Some(")" | "]" | "}" | "\"") => false,
        Some(token) => !is_name(token),
    }
}

fn regex(text: &str) -> usize {
    let mut in_class = false;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return 1,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '/' if !in_class => return at + 1,
            _ => {}
        }
    }
    1
}

fn string(bytes: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'\n' => return at,
            b if *b == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// From inside a template to its end, or to the `${` that opens code in it.
fn template(bytes: &[u8], mut at: usize, templates: &mut Vec<usize>, braces: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'`' => return at + 1,
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                templates.push(braces);
                return at + 2;
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> Vec<String> {
        effects(code, &[], false)
    }

    #[test]
    fn effects_are_found() {
        assert_eq!(found("const r = await fetch('http://x'); return 1"), ["fetch"]);
        assert_eq!(found("const fs = 1; process.exit(1)"), ["process"]);
        assert_eq!(found("new XMLHttpRequest(); require('fs'); import('x')"), ["XMLHttpRequest", "require", "import"]);
        assert_eq!(found("import { readFile } from 'fs'"), ["import"]);
        assert_eq!(found("return `a ${fetch('x')} b`"), ["fetch"]);
        assert_eq!(found("const {a} = {a: 1}; fetch(a)"), ["fetch"]);
        assert_eq!(found("function f(x) { return fetch(x) } return f(1)"), ["fetch"]);
        assert_eq!(found("fs.readFileSync('x')"), ["fs"]);
        assert!(effects("fs.readFileSync('x')", &[], true).is_empty());
    }

    #[test]
    fn words_are_no_effects() {
        for code in [
            "return 'fetch and process are only words here'",
            "return processCommits(deps.fetch.output)",
            "// fetch('x')\n/* process.exit() */ return 1",
            "const fetch = (x) => x; return fetch(1)",
            "const {fetch} = deps; return fetch(1)",
            "return items.map(process => process.name)",
            "return /fetch(\\/|'x')/.test(deps.a.output) / 2",
            "return {process: 1, fetch: 2}",
            "return `text ${deps.a.output} process.exit()`",
            "const it = \"it's\"; return deps.process.output",
        ] {
            assert!(found(code).is_empty(), "{code}: {:?}", found(code));
        }
    }

    #[test]
    fn any_text_is_bearable() {
        for code in ["`${`${", "'", "/", "/[", "é'\\", "}}}}`", "const {", "function", "ünï = 1"] {
            found(code);
        }
    }
}
