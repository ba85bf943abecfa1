//! Hiding secrets in texts, JSON, streams and reports. It does not know where these come from.

use std::sync::Arc;

use raddle_kernel::{Attempt, TaskIx};

use super::*;
use crate::attempt::AttemptKey;

const VALUE: &str = "hunter2/\"Zwölf\" & more";

fn secrets(pairs: &[(&str, &str)]) -> Arc<Secrets> {
    let values = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Arc::new(Secrets::new(values.collect()))
}

/// What a stream tells when it comes in pieces that end at these places.
fn streamed(secrets: &Arc<Secrets>, text: &[u8], cuts: &[usize]) -> String {
    let mut redactor = Redactor::new(secrets);
    let (mut out, mut at) = (Vec::new(), 0);
    for cut in cuts.iter().copied().chain([text.len()]) {
        out.extend_from_slice(&redactor.push(&text[at..cut]));
        at = cut;
    }
    out.extend(redactor.finish());
    String::from_utf8(out).expect("the pieces were text")
}

#[test]
fn every_form_of_a_value_is_hidden() {
    let secrets = secrets(&[("A", VALUE)]);
    let json = serde_json::Value::from(VALUE).to_string();
    let ascii = json.replace('ö', "\\u00f6").replace('/', "\\/");
    for text in [
        VALUE,
        &json,
        &ascii,
        "hunter2%2F%22Zw%C3%B6lf%22%20%26%20more",
        "hunter2%2f%22Zw%c3%b6lf%22+%26+more",
        // printf of the value, of it with a newline, of `user:` and it, through base64
        "aHVudGVyMi8iWnfDtmxmIiAmIG1vcmU=",
        "aHVudGVyMi8iWnfDtmxmIiAmIG1vcmUK",
        "dXNlcjpodW50ZXIyLyJad8O2bGYiICYgbW9yZQ==",
    ] {
        let told = secrets.redact(text).into_owned();
        assert!(told.contains("[secret:A]"), "{text}: {told}");
        assert!(!told.contains("hunter") && told.len() < 25, "{text}: {told}");
    }
    assert_eq!(secrets.redact("hunter2"), "hunter2");
}

#[test]
fn a_stream_tells_the_same_wherever_it_is_cut() {
    let secrets = secrets(&[("A", "abcdefgh"), ("B", "efghefghijkl"), ("C", "xyxyxyxy")]);
    for text in ["1 abcdefgh 2 abcdefghefghijkl 3", "xyxyxyxyxyxyxyxyxyx", "abcdefg", "abcdefgabcdefgh!", "no"] {
        let whole = streamed(&secrets, text.as_bytes(), &[]);
        assert_eq!(whole, secrets.redact(text), "{text}");
        for first in 0..text.len() {
            for second in first..text.len() {
                assert_eq!(streamed(&secrets, text.as_bytes(), &[first, second]), whole, "{text} {first} {second}");
            }
        }
    }
    assert_eq!(secrets.redact("1 abcdefgh 2 abcdefghefghijkl 3"), "1 [secret:A] 2 [secret:A] 3");
}

#[test]
fn a_stream_that_was_cut_off_keeps_the_beginning_to_itself() {
    let secrets = secrets(&[("A", "abcdefghijkl")]);
    assert_eq!(streamed(&secrets, b"so: abcdefghijk", &[6]), "so: [secret:A]");
    assert_eq!(streamed(&secrets, b"so: abc", &[6]), "so: abc");
}

#[test]
fn each_line_of_a_value_counts() {
    let secrets = secrets(&[("KEY", "-----BEGIN-----\nMIIEvQIBADANBg\n}\n-----END-----\n")]);
    assert_eq!(secrets.redact("a MIIEvQIBADANBg }"), "a [secret:KEY] }");
}

#[test]
fn json_stays_json() {
    let secrets = secrets(&[("A", VALUE), ("N", "123456789012"), ("J", r#"{"k":["v",1]}"#)]);
    let clean = |text: &str| secrets.redact_json(text.to_owned());
    let escaped: String = VALUE.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    assert_eq!(clean(&format!("{{\"a\":[\"{escaped}\"]}}")), r#"{"a":["[secret:A]"]}"#);
    assert_eq!(clean("[123456789012, 1.50]"), r#"["[secret:N]",1.5]"#);
    assert_eq!(clean(r#"{"k":["v",1]}"#), r#""[secret:J]""#);
    assert_eq!(clean("[1.50]"), "[1.50]");
    let key = serde_json::json!({ VALUE: 1 }).to_string();
    assert_eq!(clean(&key), r#"{"[secret:A]":1}"#);
}

#[test]
fn a_line_that_was_cut_shows_no_beginning() {
    let secrets = secrets(&[("A", "abcdefghijkl")]);
    let key = AttemptKey { task: TaskIx(0), attempt: Attempt(1) };
    let mut report = Report::Progress { key, line: "the token is abcdefghij".to_owned() };
    secrets.clean(&mut report);
    assert!(matches!(report, Report::Progress { line, .. } if line == "the token is [secret:A]"));
}

#[test]
fn what_cannot_be_hidden_is_no_secret() {
    assert_eq!(check("1234567"), Err(Unfit::Short));
    assert_eq!(check("      \n\n\n"), Err(Unfit::Short));
    assert_eq!(check("12345678\0"), Err(Unfit::Nul));
    assert_eq!(check(&"x".repeat(LONGEST + 1)), Err(Unfit::Long));
    assert_eq!(check("12345678"), Ok(()));
    assert_eq!(format!("{:?}", secrets(&[("A", "abcdefgh")])), r#"{"A"}"#);
}
