//! The forms in which a value is looked for. It does not know how.

use super::SHORTEST;

/// Every form of a value, each once, none shorter than the shortest value.
pub(super) fn of(value: &str) -> Vec<Vec<u8>> {
    let whole = value.trim_matches(['\n', '\r']);
    let mut forms: Vec<Vec<u8>> = Vec::new();
    // An indented bracket alone is nobody's secret.
    let lines = whole.lines().filter(|_| whole.contains('\n')).map(str::trim);
    for text in std::iter::once(whole).chain(lines) {
        forms.push(text.into());
        forms.extend(escaped(text));
        forms.extend(percent(text));
    }
    // With and without the newline that `echo` adds there is another last letter, hence the part before it.
    for bytes in [value.as_bytes(), whole.as_bytes()] {
        forms.extend(base64(bytes));
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// As JSON writers escape it: the shortest way, with `\/`, and in ASCII only.
fn escaped(text: &str) -> Vec<Vec<u8>> {
    let json = serde_json::Value::from(text).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let ascii: String = json
        .chars()
        .map(|letter| match letter.is_ascii() {
            true => letter.to_string(),
            false => letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        })
        .collect();
    [json.replace('/', "\\/"), ascii.replace('/', "\\/"), json, ascii].into_iter().map(String::into_bytes).collect()
}

/// As URLs and forms escape it: strictly, or as `encodeURIComponent` and `encodeURI` leave some letters alone.
fn percent(text: &str) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for left_alone in ["-_.~", "-_.~!*'()", "-_.~!*'();/?:@&=+$,#"] {
        let encode = |byte: u8, upper: bool| match byte {
            _ if byte.is_ascii_alphanumeric() || left_alone.as_bytes().contains(&byte) => char::from(byte).to_string(),
            _ if upper => format!("%{byte:02X}"),
            _ => format!("%{byte:02x}"),
        };
        for upper in [true, false] {
            let form: String = text.bytes().map(|byte| encode(byte, upper)).collect();
            forms.push(form.replace("%20", "+").into_bytes());
            forms.push(form.into_bytes());
        }
    }
    forms
}

/// In base64 of both alphabets, for each place in a group of three where the value may begin: the letters that depend on
/// nothing else. As a whole, and as the lines that encoders break it into.
fn base64(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for alphabet in [*b"+/", *b"-_"] {
        for offset in 0..3 {
            let shifted = [&[0; 2][..offset], bytes].concat();
            let letters = letters(&shifted, alphabet);
            // The first letters are mixed with what comes before; the last with what comes behind.
            let first = (offset * 8).div_ceil(6);
            forms.push(letters[first..shifted.len() * 8 / 6].to_vec());
        }
        for width in [76, 64] {
            let letters = letters(bytes, alphabet);
            forms.extend(letters[..bytes.len() * 8 / 6].chunks(width).map(<[u8]>::to_vec));
        }
    }
    forms
}

fn letters(bytes: &[u8], [plus, slash]: [u8; 2]) -> Vec<u8> {
    let letter = |six: u8| match six {
        0..26 => b'A' + six,
        26..52 => b'a' + six - 26,
        52..62 => b'0' + six - 52,
        62 => plus,
        _ => slash,
    };
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        out.extend([18, 12, 6, 0].map(|shift| letter((bits >> shift & 63) as u8)));
    }
    out
}
