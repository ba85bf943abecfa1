//! A set that is everything or what a list of rules says, with the order that makes grants a lattice. It does not know
//! what the rules are about, only when one of them contains another.
//!
//! An empty list is nothing, never everything. Where two rules overlap and neither contains the other, their meet is
//! nothing: too narrow can be seen and mended, too wide cannot.

/// A rule that stands for a set of things.
pub trait Rule: Clone + PartialEq {
    /// Whether everything that the other stands for is among what this one stands for. May say no where the truth is
    /// yes, never the other way round.
    fn contains(&self, other: &Self) -> bool;
}

/// What may be used of one kind of thing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope<T> {
    /// Everything.
    #[default]
    All,
    /// What one of these rules stands for; nothing without any.
    Only(Vec<T>),
}

impl<T: Rule> Scope<T> {
    /// Whether the other is not wider.
    pub fn contains(&self, other: &Scope<T>) -> bool {
        match (self, other) {
            (Scope::All, _) => true,
            (Scope::Only(_), Scope::All) => false,
            (Scope::Only(_), Scope::Only(rules)) => rules.iter().all(|rule| self.admits(rule)),
        }
    }

    /// Whether one of its rules contains this one.
    pub fn admits(&self, rule: &T) -> bool {
        match self {
            Scope::All => true,
            Scope::Only(own) => own.iter().any(|mine| mine.contains(rule)),
        }
    }

    /// What both allow; never wider than either.
    pub fn meet(&self, other: &Scope<T>) -> Scope<T> {
        let (own, others) = match (self, other) {
            (Scope::All, _) => return other.clone(),
            (_, Scope::All) => return self.clone(),
            (Scope::Only(own), Scope::Only(others)) => (own, others),
        };
        let mut rules: Vec<T> = Vec::new();
        let mut keep = |rule: &T| {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        };
        for rule in others {
            match self.admits(rule) {
                true => keep(rule),
                false => own.iter().filter(|mine| rule.contains(mine)).for_each(&mut keep),
            }
        }
        Scope::Only(rules)
    }

    /// The rules; `None` for everything.
    pub fn rules(&self) -> Option<&[T]> {
        match self {
            Scope::All => None,
            Scope::Only(rules) => Some(rules),
        }
    }

    /// Whether it allows nothing at all.
    pub fn is_nothing(&self) -> bool {
        self.rules().is_some_and(<[T]>::is_empty)
    }
}

/// Whether a text that may hold `*` (any characters, also none) covers another such text. The other's stars are taken
/// for a character that only a star matches, so what is covered stays covered whatever they stand for.
pub(super) fn covers(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) && text[t] != b'*' {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star, from)) = retry {
            // The last star takes one byte more.
            retry = Some((star, from + 1));
            (p, t) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Whether there could be a text that both stand for: stars on both sides. May say yes too often.
pub(super) fn may_meet(a: &str, b: &str) -> bool {
    let ends = |text: &str| {
        let first = text.split('*').next().unwrap_or_default().to_owned();
        let last = text.rsplit('*').next().unwrap_or_default().to_owned();
        (first, last)
    };
    match (a.contains('*'), b.contains('*')) {
        (false, false) => a == b,
        (true, false) => covers(a, b),
        (false, true) => covers(b, a),
        (true, true) => {
            let ((a_first, a_last), (b_first, b_last)) = (ends(a), ends(b));
            let begins = a_first.starts_with(&b_first) || b_first.starts_with(&a_first);
            let ends = a_last.ends_with(&b_last) || b_last.ends_with(&a_last);
            begins && ends
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_cover_stars() {
        for (pattern, text, covered) in [
            ("*", "", true),
            ("*", "a*b", true),
            ("a*", "a", true),
            ("a*", "a*c*", true),
            ("a*c", "a*", false),
            ("a*b*c", "aXbYbZc", true),
            ("abc", "a*c", false),
            ("a**", "a*", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(covers(pattern, text), covered, "{pattern} over {text}");
        }
        assert!(may_meet("a*", "*b") && may_meet("ab*", "a*") && !may_meet("a*", "b*") && !may_meet("*a", "*b"));
    }
}
