//! Plain YAML scalars by the YAML 1.2 core schema: `yes` and `no` are text. It does not know where they stand. What
//! tools are known to read differently (`0777`) or what JSON cannot hold (`.nan`) is refused instead of guessed.

use std::borrow::Cow;

use serde_json::Number;

use super::Data;

/// The value of an unquoted scalar, or why it has none and what to write instead.
pub(super) fn resolve(text: Cow<'_, str>) -> Result<Data<'_>, (String, &'static str)> {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Data::Null),
        "true" | "True" | "TRUE" => return Ok(Data::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Data::Bool(false)),
        _ => {}
    }
    // Most scalars are words; only these bytes can begin a number.
    if !matches!(text.as_bytes()[0], b'0'..=b'9' | b'+' | b'-' | b'.') {
        return Ok(Data::Text(text));
    }
    match number(&text)? {
        Some(number) => Ok(Data::Number(number)),
        None => Ok(Data::Text(text)),
    }
}

fn number(text: &str) -> Result<Option<Number>, (String, &'static str)> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(text, digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(text, digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err((format!("`{text}` is no JSON number"), "put it in quotes if text is meant"));
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        if unsigned.len() > 1 && unsigned.starts_with('0') {
            let help = "put it in quotes if text is meant, or write an octal number as 0o777";
            return Err((format!("`{text}` begins with a zero and could be read in two ways"), help));
        }
        return whole(text);
    }
    if !is_float(unsigned) {
        return Ok(None);
    }
    finite(text)
}

fn radix(text: &str, digits: &str, radix: u32) -> Result<Option<Number>, (String, &'static str)> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Ok(None);
    }
    match u64::from_str_radix(digits, radix) {
        Ok(n) => Ok(Some(n.into())),
        Err(_) => Err((format!("`{text}` is too large"), "put it in quotes if text is meant")),
    }
}

/// Digits with an optional sign; what fits no 64-bit integer becomes the nearest double, as JSON readers do.
pub(super) fn whole(text: &str) -> Result<Option<Number>, (String, &'static str)> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Ok(n) = text.parse::<i64>() {
        // `-0` is the integer nought in both syntaxes.
        return Ok(Some(n.into()));
    }
    if let Ok(n) = text.parse::<u64>() {
        return Ok(Some(n.into()));
    }
    finite(text)
}

pub(super) fn finite(text: &str) -> Result<Option<Number>, (String, &'static str)> {
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(n) => Ok(Some(n)),
        None => Err((format!("`{text}` is too large for a number"), "put it in quotes if text is meant")),
    }
}

/// `(\. digits | digits (\. digits?)?) ([eE] [+-]? digits)?`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_is_fine = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_is_fine
}
