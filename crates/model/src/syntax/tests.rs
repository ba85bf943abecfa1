//! The tree of YAML and JSON, and texts that mean no good.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn value(text: &str) -> Value {
    let tree = parse(text, "wf.yaml");
    assert_eq!(tree.faults, [], "{text}");
    tree.root.expect("no faults").to_json()
}

fn fault(text: &str) -> String {
    let tree = parse(text, "wf.yaml");
    tree.faults.first().unwrap_or_else(|| panic!("{text:?} is fine: {:?}", tree.root)).message.clone()
}

#[test]
fn scalars_of_the_core_schema() {
    let text = "[yes, no, on, ~, null, '', true, False, 5, -5, +5, 0x1F, 0o17, 1.5, 1e3, .5, 1_000, 12:30, 0.1.2, \
                '5', \"a\\n\\u00fc\", !!str 5, 2026-11-21, 18446744073709551615, 1e, 0]";
    let wanted = json!([
        "yes",
        "no",
        "on",
        null,
        null,
        "",
        true,
        false,
        5,
        -5,
        5,
        31,
        15,
        1.5,
        1000.0,
        0.5,
        "1_000",
        "12:30",
        "0.1.2",
        "5",
        "a\nü",
        "5",
        "2026-11-21",
        18446744073709551615u64,
        "1e",
        0
    ]);
    assert_eq!(value(text), wanted);
    for bad in ["a: 0777", "a: -007", "a: .inf", "a: .nan", "a: !!int x", "a: !x y", "a: 1e999"] {
        fault(bad);
    }
}

#[test]
fn documents_and_their_marks() {
    assert_eq!(value("\u{feff}---\r\na: 1\r\nb:\r\n  - x\r\n...\r\n"), json!({"a": 1, "b": ["x"]}));
    assert_eq!(value("a: &x {k: [1]}\nb: *x\n"), json!({"a": {"k": [1]}, "b": {"k": [1]}}));
    assert_eq!(value("{a: 1, b: [c]}"), json!({"a": 1, "b": ["c"]}));
    assert_eq!(value("1: x\ntrue: y"), json!({"1": "x", "true": "y"}));
    for (bad, words) in [
        ("a: 1\n---\nb: 2", "second YAML document"),
        ("a: 1\na: 2", "twice"),
        ("{\"a\": 1, \"a\": 2}", "twice"),
        ("a:\n\t- b", "tab"),
        ("", "empty"),
        ("# only words", "empty"),
        ("a: &x [*x]", "alias"),
        ("? [a]\n: b", "key"),
        ("{a: [1}", "expected"),
    ] {
        assert!(fault(bad).contains(words), "{bad:?}: {}", fault(bad));
    }
}

#[test]
fn strict_json() {
    let read = |text: &'static str| parse(text, "wf.json");
    let tree = read("{\"a\": \"\\ud83d\\ude00 \\/ \\u00fc\", \"n\": [-0, 1E2, 123456789012345678901234567890]}");
    assert_eq!(
        tree.root.expect("valid").to_json(),
        json!({"a": "😀 / ü", "n": [0, 100.0, 123456789012345678901234567890.0]})
    );
    for bad in [
        "{\"a\": \"\\ud83d\"}",
        "{\"a\": \"\\ud83d\\u0041\"}",
        "{\"a\": \"\\x\"}",
        "{\"a\": \"\\u12\"}",
        "{\"a\": 01}",
        "{\"a\": 1.}",
        "{\"a\": .5}",
        "{\"a\": 1,}",
        "{\"a\": tru}",
        "{'a': 1}",
        "{\"a\": 1} x",
        "{\"a\"",
        "{\"a\": \"x\ny\"}",
        "{\"a\": 1e999}",
        "[",
        "",
    ] {
        assert!(read(bad).root.is_none(), "{bad}");
    }
}

#[test]
fn what_is_no_text_is_said_once() {
    for bytes in [&b"\x00\xff\xfe\x80\x81 not text \xc3\x28"[..], b"\xff\xfet\x00a\x00", b"a: \xc3\x28", b"a: b\0"] {
        text_of(bytes).expect_err("no text");
    }
    text_of(&vec![b'x'; MAX_BYTES + 1]).expect_err("too much");
}

#[test]
fn hostile_texts_are_refused() {
    let bomb = (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        format!("{text}a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "))
    });
    let stairs = (1..3000).fold("tasks:\n".to_owned(), |text, n| text + &" ".repeat(n) + "- \n");
    let anchors = format!("{}x{}", (0..90).map(|n| format!("&b{n} [")).collect::<String>(), "]".repeat(90));
    for text in [
        bomb,
        stairs,
        format!("tasks: {}", "[".repeat(10_000)),
        "{\"tasks\":".repeat(10_000),
        "[".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        "&a ".repeat(10_000),
        "[a,".repeat(200_000),
        format!("[{}]", "a,".repeat(2_000_000)),
        format!("a: &a [{}]\nb: [{}]", "x,".repeat(50_000), "*a,".repeat(1000)),
    ] {
        assert!(parse(&text, "wf.yaml").root.is_none(), "{}", &text[..40]);
    }
    assert!(parse(&anchors, "wf.yaml").root.is_some());
}

/// Any JSON value of moderate size.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_reads_as_serde_json_reads_it(value in values()) {
        let compact = value.to_string();
        let pretty = serde_json::to_string_pretty(&value).expect("JSON");
        for text in [&compact, &pretty] {
            let tree = parse(text, "wf.json");
            prop_assert_eq!(tree.root.map(|root| root.to_json()), serde_json::from_str(text).ok());
        }
    }

    #[test]
    fn no_text_breaks_a_reader(text in "[\\[\\]{}:,&*!?\"'\\\\#|>%@` a\n\t\r0-9$ü-]{0,60}") {
        for name in ["wf.yaml", "wf.json"] {
            let tree = parse(&text, name);
            prop_assert_eq!(tree.root.is_none() && tree.faults.is_empty(), false);
            let positions = Positions::new(&text);
            for fault in &tree.faults {
                prop_assert!(fault.span.start as usize <= text.len());
                positions.at(fault.span.start);
            }
        }
    }
}
