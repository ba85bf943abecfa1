//! What a server is told that asks the user something: by a policy, for nobody sits here. It does not know connections.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The policy for questions of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Elicitation {
    /// The server is told that nobody can be asked; if it asks all the same, the answer is no.
    #[default]
    Decline,
    /// A form is accepted with the defaults that it proposes itself, when it has one for every required field.
    Defaults,
}

/// The answer that says no.
const DECLINE: &str = r#"{"action":"decline"}"#;

#[derive(Deserialize)]
struct Question<'a> {
    #[serde(borrow, default)]
    mode: Cow<'a, str>,
    #[serde(default, rename = "requestedSchema")]
    schema: Form,
}

#[derive(Deserialize, Default)]
struct Form {
    #[serde(default)]
    properties: Map<String, Value>,
    #[serde(default)]
    required: Vec<String>,
}

impl Elicitation {
    /// What is declared to servers, as JSON.
    pub(crate) fn capabilities(self) -> &'static str {
        match self {
            Elicitation::Decline => "{}",
            Elicitation::Defaults => r#"{"elicitation":{"form":{}}}"#,
        }
    }

    /// The result of `elicitation/create`, as JSON on one line.
    pub(crate) fn answer(self, params: Option<&RawValue>) -> String {
        let question = params.and_then(|params| serde_json::from_str::<Question<'_>>(params.get()).ok());
        match (self, question) {
            (Elicitation::Defaults, Some(question)) => question.accept().unwrap_or_else(|| DECLINE.to_owned()),
            _ => DECLINE.to_owned(),
        }
    }
}

impl Question<'_> {
    fn accept(self) -> Option<String> {
        // A link is for a person's eyes.
        if !self.mode.is_empty() && self.mode != "form" {
            return None;
        }
        let mut content = Map::new();
        for (name, property) in self.schema.properties {
            if let Value::Object(mut property) = property
                && let Some(default) = property.remove("default")
            {
                content.insert(name, default);
            }
        }
        let complete = self.schema.required.iter().all(|name| content.contains_key(name));
        complete.then(|| format!(r#"{{"action":"accept","content":{}}}"#, Value::Object(content)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(policy: Elicitation, question: &str) -> String {
        policy.answer(Some(&RawValue::from_string(question.to_owned()).expect("it is JSON")))
    }

    #[test]
    fn a_form_is_accepted_with_its_own_defaults_or_not_at_all() {
        let form = r#"{"message":"?","requestedSchema":{"type":"object","required":["a"],"properties":
            {"a":{"type":"string","default":"x"},"b":{"type":"integer"},"c":{"type":"boolean","default":true}}}}"#;
        assert_eq!(asked(Elicitation::Decline, form), DECLINE);
        assert_eq!(asked(Elicitation::Defaults, form), r#"{"action":"accept","content":{"a":"x","c":true}}"#);
        let open = r#"{"requestedSchema":{"required":["name"],"properties":{"name":{"type":"string"}}}}"#;
        assert_eq!(asked(Elicitation::Defaults, open), DECLINE);
        assert_eq!(asked(Elicitation::Defaults, r#"{"mode":"url","url":"https://x.example"}"#), DECLINE);
        assert_eq!(Elicitation::Defaults.answer(None), DECLINE);
    }
}
