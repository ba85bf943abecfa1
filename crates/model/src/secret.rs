//! `${secret:NAME}` inside a text: finding it, replacing it once. It does not know what any secret is; whoever replaces
//! brings the values.

/// What a reference to a secret begins with; `$${secret:` is the literal text.
const MARK: &str = "${secret:";

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'t> {
    /// Text that stands for itself.
    Text(&'t str),
    /// The name of a secret whose value goes here.
    Secret(&'t str),
}

/// The parts of a text in their order. Only what is written as a reference to a possible name is one: `${secret:1}`
/// stays text.
pub fn parts(text: &str) -> Vec<Part<'_>> {
    let mut found = Vec::new();
    let (mut plain, mut at) = (0, 0);
    while let Some(next) = text[at..].find(MARK).map(|next| at + next) {
        let begin = next + MARK.len();
        let name = text[begin..].find('}').map(|length| &text[begin..begin + length]).filter(|name| is_name(name));
        at = begin;
        let Some(name) = name else { continue };
        let is_escaped = text[plain..next].ends_with('$');
        let end = begin + name.len() + 1;
        // Of an escaped one the first dollar is left out.
        let before = &text[plain..next - usize::from(is_escaped)];
        if !before.is_empty() {
            found.push(Part::Text(before));
        }
        match is_escaped {
            true => found.push(Part::Text(&text[next..end])),
            false => found.push(Part::Secret(name)),
        }
        (plain, at) = (end, end);
    }
    if plain < text.len() {
        found.push(Part::Text(&text[plain..]));
    }
    found
}

/// The secrets that a text refers to.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    parts(text).into_iter().filter_map(|part| match part {
        Part::Secret(name) => Some(name),
        Part::Text(_) => None,
    })
}

/// The text with every reference replaced once; what is put in is not looked at again. The error is the name of a
/// secret without a value.
pub fn filled<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for part in parts(text) {
        out.push_str(match part {
            Part::Text(text) => text,
            Part::Secret(name) => value(name).ok_or_else(|| name.to_owned())?,
        });
    }
    Ok(out)
}

/// The text written so that [`parts`] finds no reference in it.
pub fn escaped(text: &str) -> String {
    text.replace(MARK, "$${secret:")
}

/// Whether a secret may be called so: a letter or `_`, then letters, digits, `_` and `-`, at most 64.
pub fn is_name(name: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let bytes = name.as_bytes();
    bytes.len() <= 64
        && bytes.first().is_some_and(|byte| first(*byte))
        && bytes.iter().all(|byte| first(*byte) || byte.is_ascii_digit() || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_replaced_once_and_an_escaped_one_never() {
        let value = |name: &str| (name == "A").then_some("${secret:A}$");
        for (text, expected) in [
            ("x ${secret:A}${secret:A}y", "x ${secret:A}$${secret:A}$y"),
            ("$${secret:A} $$${secret:A}", "${secret:A} $${secret:A}"),
            ("${secret:1} ${secret:-x} ${secret:A", "${secret:1} ${secret:-x} ${secret:A"),
            (&escaped("${secret:A} $${secret:A}"), "${secret:A} $${secret:A}"),
        ] {
            assert_eq!(filled(text, value).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(filled("a${secret:B}", value), Err("B".to_owned()));
        assert_eq!(names("${secret:B}, ${secret:a-1} $${secret:C}").collect::<Vec<_>>(), ["B", "a-1"]);
    }
}
