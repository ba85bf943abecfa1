//! The head of an agent's or skill's Markdown file: `key: value` lines between two `---`. It is read by lines rather
//! than as YAML, because the files that people have (descriptions with colons and quotes in them) are often no YAML.
//! It does not know which keys mean something.

/// A head and what follows it.
#[derive(Debug, PartialEq)]
pub(super) struct Document<'a> {
    /// Keys and values in order; values of lists are joined by commas.
    pub head: Vec<(String, String)>,
    /// The text after the head, without blank lines around it.
    pub body: &'a str,
}

impl Document<'_> {
    /// The value of a key; empty values count as none.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.head.iter().find(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| v.as_str())
    }
}

/// Splits a text; without a head everything is body.
pub(super) fn split(text: &str) -> Document<'_> {
    let text = text.trim_start_matches('\u{feff}');
    let headless = Document { head: Vec::new(), body: text.trim() };
    let mut lines = text.split_inclusive('\n');
    let Some(first) = lines.next().filter(|line| line.trim_end() == "---") else { return headless };
    let mut head: Vec<(String, String)> = Vec::new();
    let mut at = first.len();
    for line in lines {
        at += line.len();
        let line = line.trim_end();
        if line == "---" {
            return Document { head, body: text[at..].trim() };
        }
        let continued = line.starts_with([' ', '\t', '-']);
        match (line.split_once(':'), head.last_mut()) {
            (_, Some((_, value))) if continued => {
                let (item, joint) = match line.trim_start().strip_prefix('-') {
                    Some(item) => (item, ", "),
                    None => (line, " "),
                };
                if !value.is_empty() {
                    value.push_str(joint);
                }
                value.push_str(unquoted(item.trim()));
            }
            (Some((key, value)), _) if !continued && !line.starts_with('#') => {
                // A block scalar's mark is no part of its text.
                let value = if matches!(value.trim(), "|" | ">" | "|-" | ">-") { "" } else { value };
                head.push((key.trim().to_owned(), unquoted(value.trim()).to_owned()));
            }
            _ => {}
        }
    }
    headless
}

/// A list as these files write it: commas, maybe brackets; commas inside parentheses do not separate.
pub(super) fn list(text: &str) -> Vec<String> {
    let text = text.trim();
    let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let mut depth = 0usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(|item| unquoted(item.trim()).to_owned())
    .filter(|item| !item.is_empty())
    .collect()
}

fn unquoted(text: &str) -> &str {
    let inside = |quote| text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_as_people_write_them() {
        let text = "---\r\nname: tester\ndescription: Use when: tests are \"needed\"\ntools: Read, Bash(git log, git diff)\nskills:\n  - rust\n- 'style'\nmodel: \"haiku\"\n---\n\nYou test.\n\n---\nStill body.\n";
        let document = split(text);
        assert_eq!(document.get("name"), Some("tester"));
        assert_eq!(document.get("description"), Some("Use when: tests are \"needed\""));
        assert_eq!(document.get("model"), Some("haiku"));
        assert_eq!(list(document.get("tools").expect("there are tools")), ["Read", "Bash(git log, git diff)"]);
        assert_eq!(list(document.get("skills").expect("there are skills")), ["rust", "style"]);
        assert_eq!(document.body, "You test.\n\n---\nStill body.");
        assert_eq!(split("No head.\n").body, "No head.");
        assert_eq!(split("---\nname: open\n").body, "---\nname: open");
    }
}
