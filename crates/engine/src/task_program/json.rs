//! JSON text that comes from tasks, and text as JSON. It does not know tasks.

use raddle_kernel::FailureClass;
use serde_json::Value;

use crate::attempt::Failure;

pub(super) fn parse_json(text: String) -> Result<String, Failure> {
    let value: &serde_json::value::RawValue = serde_json::from_str(&text).map_err(|e| {
        let head: String = text.chars().take(80).collect();
        Failure::new(FailureClass::Output, format!("the output is not JSON ({e}): {head}"))
    })?;
    Ok(value.get().to_owned())
}

pub(super) fn unreadable(error: serde_json::Error) -> Failure {
    Failure::new(FailureClass::Output, format!("the output is not JSON: {error}"))
}

pub(super) fn push_json_string(text: &mut String, s: &str) {
    text.push_str(&Value::String(s.to_owned()).to_string());
}
