//! Proves that a text is JSON that every later reader can hold: nesting within the usual bound, numbers in range,
//! whole surrogate pairs. It builds nothing and does not know what the text is for.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Whether `text` is one JSON value that parses into a tree without error.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<Checked>(text).is_ok()
}

/// `IgnoredAny` skips without looking into escapes, numbers and depth; this looks.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Checked, A::Error> {
        while seq.next_element::<Checked>()?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Checked, A::Error> {
        while map.next_entry::<Checked, Checked>()?.is_some() {}
        Ok(Checked)
    }
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn only_what_parses_into_a_tree_is_json() {
        for good in ["null", " 42\n", "[1,{\"a\":[]}]", "\"\\ud83e\\uddf5\"", "1e300", "\"x\""] {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "not json", "1 2", "[1", "\"\\ud800\"", "1e999", "NaN", "{\"a\":1,}"] {
            assert!(!is_json(bad), "{bad}");
        }
        assert!(!is_json(&("[".repeat(1000) + &"]".repeat(1000))), "too deep");
    }
}
