//! Path patterns of grants: absolute, or from the folder that tasks start in; `*` is any part of one name, a last `/**`
//! the folder with everything below. It does not know files: `..` is resolved in the text, links by whoever asks.

use std::fmt;

use super::scope::{Rule, covers, may_meet};

/// Patterns and paths longer than this are refused; no path of the operating system is.
const MAX_BYTES: usize = 4096;

/// Where a path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    Root,
    /// So many folders above the folder that tasks start in.
    Base(usize),
}

/// A path without wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    anchor: Anchor,
    parts: Vec<String>,
}

/// A set of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    at: Location,
    /// Also everything below.
    below: bool,
}

impl Location {
    /// Reads a path; `..` takes back the name before it. The error is a lowercase fragment.
    pub fn parse(text: &str) -> Result<Location, String> {
        if text.is_empty() {
            return Err("it is empty".into());
        }
        if text.len() > MAX_BYTES {
            return Err(format!("it is longer than {MAX_BYTES} bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err("it holds a control character".into());
        }
        let mut anchor = if text.starts_with('/') { Anchor::Root } else { Anchor::Base(0) };
        let mut parts: Vec<String> = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." if parts.pop().is_some() => {}
                // Above the root there is the root.
                ".." => {
                    if let Anchor::Base(up) = &mut anchor {
                        *up += 1;
                    }
                }
                name => parts.push(name.to_owned()),
            }
        }
        Ok(Location { anchor, parts })
    }

    /// The same as an absolute path, given the folder that tasks start in (which must be absolute).
    pub fn from(&self, base: &Location) -> Location {
        let Anchor::Base(up) = self.anchor else { return self.clone() };
        let kept = base.parts.len().saturating_sub(up);
        let parts = base.parts[..kept].iter().chain(&self.parts).cloned().collect();
        Location { anchor: base.anchor, parts }
    }
}

impl PathPattern {
    /// Reads a pattern. The error is a lowercase fragment.
    pub fn parse(text: &str) -> Result<PathPattern, String> {
        if text.starts_with('~') {
            return Err("`~` is not expanded; write the whole path".into());
        }
        if text.contains(['?', '[', ']', '{', '}', '!', '\\']) {
            return Err("patterns know `*` for any part of one name and a last `/**`, nothing else".into());
        }
        let (text, below) = match text.strip_suffix("**") {
            Some("") => ("./", true),
            Some(rest) if rest.ends_with('/') => (rest, true),
            _ => (text, false),
        };
        if text.contains("**") {
            return Err("`**` may only be the last part, as in `src/**`".into());
        }
        // A name that a later `..` takes back must be one name: `*/..` could be anywhere behind a link.
        let parts: Vec<&str> = text.split('/').collect();
        if parts.windows(2).any(|pair| pair[0].contains('*') && pair[1] == "..") {
            return Err("`..` cannot follow a part with `*`".into());
        }
        Ok(PathPattern { at: Location::parse(text)?, below })
    }

    /// The pattern that stands for this path, and with `below` for everything in it.
    pub fn of(location: Location, below: bool) -> PathPattern {
        PathPattern { at: location, below }
    }

    /// The same from the root of the file system, given the folder that tasks start in.
    pub fn from(&self, base: &Location) -> PathPattern {
        PathPattern { at: self.at.from(base), below: self.below }
    }

    /// Whether it stands for that path. Relative and absolute ones are only compared where the answer is certain.
    pub fn matches(&self, path: &Location) -> bool {
        // A star in the name of a file is a letter like others; a star of the pattern matches it all the same.
        self.holds(path, false)
    }

    /// Whether some path might be meant by both. May say yes too often.
    pub fn may_meet(&self, other: &PathPattern) -> bool {
        if self.at.anchor != other.at.anchor {
            return true;
        }
        let (own, others) = (&self.at.parts, &other.at.parts);
        let common = own.len().min(others.len());
        own.iter().zip(others).all(|(a, b)| may_meet(a, b))
            && (own.len() == common || other.below)
            && (others.len() == common || self.below)
    }

    /// The literal names before the first `*`, as a path.
    pub fn literal_prefix(&self) -> Location {
        let literal = self.at.parts.iter().take_while(|part| !part.contains('*')).cloned().collect();
        Location { anchor: self.at.anchor, parts: literal }
    }

    /// The same with another path in the place of its literal prefix: what it stands for once links are followed.
    pub fn with_prefix(&self, prefix: Location) -> PathPattern {
        let rest = self.at.parts.iter().skip_while(|part| !part.contains('*')).cloned();
        let parts = prefix.parts.iter().cloned().chain(rest).collect();
        PathPattern { at: Location { anchor: prefix.anchor, parts }, below: self.below }
    }

    fn holds(&self, at: &Location, below: bool) -> bool {
        match (self.at.anchor, at.anchor) {
            (Anchor::Root, Anchor::Root) => {}
            (Anchor::Base(own), Anchor::Base(other)) if own == other => {}
            // `../../**` is above everything that begins further down.
            (Anchor::Base(own), Anchor::Base(other)) => {
                return own > other && self.below && self.at.parts.is_empty();
            }
            (Anchor::Root, Anchor::Base(_)) => return self.below && self.at.parts.is_empty(),
            (Anchor::Base(_), Anchor::Root) => return false,
        }
        let (own, others) = (&self.at.parts, &at.parts);
        let long_enough = if self.below { own.len() <= others.len() } else { own.len() == others.len() && !below };
        long_enough && own.iter().zip(others).all(|(own, other)| covers(own, other))
    }
}

impl Rule for PathPattern {
    fn contains(&self, other: &Self) -> bool {
        self.holds(&other.at, other.below)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.anchor {
            Anchor::Root => write!(f, "/{}", self.parts.join("/")),
            Anchor::Base(0) if self.parts.is_empty() => f.write_str("."),
            Anchor::Base(0) => write!(f, "./{}", self.parts.join("/")),
            Anchor::Base(up) => {
                let above = vec![".."; up].into_iter();
                f.write_str(&above.chain(self.parts.iter().map(String::as_str)).collect::<Vec<_>>().join("/"))
            }
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.to_string();
        match self.below {
            true if at.ends_with('/') => write!(f, "{at}**"),
            true => write!(f, "{at}/**"),
            false => f.write_str(&at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).expect(text)
    }

    #[test]
    fn what_lies_within_what() {
        for (outer, inner, contained) in [
            ("./w/**", "./w/**", true),
            ("./w/**", "w", true),
            ("./w/**", "./w/a/**", true),
            ("./w/**", "./w/a/../b", true),
            ("./w/**", "./w/../x", false),
            ("./w/**", "./**", false),
            ("./**", "..", false),
            ("../**", "./x/**", true),
            ("../**", "../../x", false),
            ("/**", "./x", true),
            ("/**", "../x/**", true),
            ("/etc/**", "./x", false),
            ("./x", "/etc", false),
            ("./*", "./a", true),
            ("./*", "./a/b", false),
            ("./*", "./a/**", false),
            ("./*.rs", "./a*.rs", true),
            ("./a*.rs", "./*.rs", false),
            ("./src/*/x", "./src/*/x", true),
            ("./w", "./w/**", false),
            ("./w", "./wide", false),
            ("./w/**", "./wide/x", false),
        ] {
            assert_eq!(pattern(outer).contains(&pattern(inner)), contained, "{outer} over {inner}");
        }
    }

    #[test]
    fn patterns_that_are_none() {
        for text in ["", "~/x", "a/**/b", "**/.env", "a[b]", "a{b,c}", "a?", "*/../x", "a**", "a\n", "!a", "***"] {
            assert!(PathPattern::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn paths_from_a_folder() {
        let base = Location::parse("/home/u/p").expect("a path");
        for (text, absolute) in [
            ("./**", "/home/u/p/**"),
            (".", "/home/u/p"),
            ("../q/*.rs", "/home/u/q/*.rs"),
            ("../../../../etc", "/etc"),
            ("/**", "/**"),
            ("**", "/home/u/p/**"),
            ("/a//b/./c/", "/a/b/c"),
        ] {
            assert_eq!(pattern(text).from(&base).to_string(), absolute);
        }
        let asked = |text: &str| Location::parse(text).expect("a path").from(&base);
        assert!(pattern("./w/**").from(&base).matches(&asked("w/a.txt")));
        assert!(!pattern("./w/**").from(&base).matches(&asked("w/../../etc/passwd")));
        assert!(pattern("./w/*").from(&base).matches(&asked("w/a*b")));
    }

    #[test]
    fn what_might_meet() {
        for (a, b, meets) in [
            ("./w/**", "./w/s/**", true),
            ("./w/s/k", "./w/**", true),
            ("./w/*", "./w/s/**", true),
            ("./w/a", "./w/b", false),
            ("./w/a", "./w/a/b", false),
            ("./a*/**", "./b/**", false),
            ("./x", "/y", true),
        ] {
            assert_eq!(pattern(a).may_meet(&pattern(b)), meets, "{a} and {b}");
        }
    }
}
