//! Which shell commands a rule such as `Bash(git log *)` allows: that command with any arguments, and nothing that
//! rides on it. It does not run a shell, nor know what a command does with its arguments.

use super::scope::{Rule, covers};

/// What a shell could take for more than one plain command: separators, pipes, redirections, groups, substitutions.
const OPERATORS: [char; 11] = [';', '&', '|', '<', '>', '(', ')', '{', '}', '`', '$'];

/// A command with `*` for any text without operators; a last ` *` may be missing altogether.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPattern(String);

impl CommandPattern {
    /// Reads what stands between the brackets. `git:*`, the older notation, is `git *`.
    pub fn parse(text: &str) -> Result<CommandPattern, String> {
        let text = text.trim();
        let text = text.strip_suffix(":*").map_or_else(|| text.to_owned(), |command| format!("{command} *"));
        if text.is_empty() || text == " *" {
            return Err("there is no command in the brackets".into());
        }
        match operator(&text) {
            Some(found) => Err(format!("a rule allows one plain command, and {found} begins another")),
            None => Ok(CommandPattern(text)),
        }
    }

    /// As it is written between the brackets.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether it allows this command line; the error says what in it does not fit, where it is more than the words.
    pub fn allows(&self, command: &str) -> Result<bool, String> {
        let command = command.trim_matches([' ', '\t']);
        match operator(command) {
            Some(found) => Err(format!("{found} could run more than the command that is allowed")),
            None => Ok(self.covers(&command.replace('*', "\u{1}"))),
        }
    }

    /// Whether it allows a program with these arguments. No shell reads them, so nothing in them begins another command.
    pub fn allows_program(&self, argv: &[&str]) -> bool {
        let harmless = |c: char| if OPERATORS.contains(&c) || c == '*' || c.is_control() { '\u{1}' } else { c };
        self.covers(&line(argv.iter().copied()).chars().map(harmless).collect::<String>())
    }

    fn covers(&self, text: &str) -> bool {
        covers(&self.0, text) || self.0.strip_suffix(" *").is_some_and(|bare| covers(bare, text))
    }
}

impl Rule for CommandPattern {
    fn contains(&self, other: &Self) -> bool {
        // The other also stands for its command without arguments.
        self.covers(&other.0) && other.0.strip_suffix(" *").is_none_or(|bare| self.covers(bare))
    }
}

/// A program and its arguments as one line that a shell would read back as the same.
pub(super) fn line<'a>(argv: impl IntoIterator<Item = &'a str>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    let quoted = |word: &'a str| match word.is_empty() || !word.chars().all(plain) {
        true => format!("'{}'", word.replace('\'', "'\\''")),
        false => word.to_owned(),
    };
    argv.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The first thing in a text that is more than words of one command.
fn operator(text: &str) -> Option<String> {
    let found = text.chars().find(|c| OPERATORS.contains(c) || (c.is_control() && *c != '\t'))?;
    Some(match found {
        '\n' | '\r' => "a line break".into(),
        c if c.is_control() => "a control character".into(),
        c => format!("`{c}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_rides_on_an_allowed_command() {
        let list = CommandPattern::parse("ls *").expect("a pattern");
        for command in ["ls", "ls -l", "ls  -l a*", " ls -l", "ls \"a b\""] {
            assert_eq!(list.allows(command), Ok(true), "{command}");
        }
        for command in ["id", "lsof", "A=b ls", "./ls", "xls -l", "\\ls -l", ""] {
            assert_eq!(list.allows(command), Ok(false), "{command}");
        }
        for command in [
            "ls; id",
            "ls && id",
            "ls & id",
            "ls | id",
            "ls || id",
            "ls $(id)",
            "ls `id`",
            "ls\nid",
            "ls > f",
            "ls < f",
            "ls <(id)",
            "ls ${x@P}",
            "ls\rid",
            "(ls)",
            "{ ls; }",
            "ls $HOME",
            "ls \";\"",
            "ls \0",
        ] {
            assert!(list.allows(command).is_err(), "{command:?}");
        }
    }

    #[test]
    fn patterns_within_patterns() {
        let pattern = |text: &str| CommandPattern::parse(text).expect("a pattern");
        for (outer, inner, contained) in [
            ("git *", "git log *", true),
            ("git *", "git:*", true),
            ("git *", "git", true),
            ("git", "git *", false),
            ("git log *", "git *", false),
            ("git*", "git *", true),
            ("git *", "git*", false),
            ("*", "anything *", true),
        ] {
            assert_eq!(pattern(outer).contains(&pattern(inner)), contained, "{outer} over {inner}");
        }
        for text in ["", "  ", ":*", "a; b", "a | b", "a $(b)", "a\nb"] {
            assert!(CommandPattern::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_argument_list_as_a_line() {
        assert_eq!(line(["ls", "-l", "a b", "it's", ""]), r"ls -l 'a b' 'it'\''s' ''");
        let list = CommandPattern::parse("ls -l *").expect("a pattern");
        assert!(list.allows_program(&["ls", "-l", "a; b\n$(c)"]) && list.allows_program(&["ls", "-l"]));
        assert!(!list.allows_program(&["ls -l", "a"]) && !list.allows_program(&["ls", "*"]));
    }
}
