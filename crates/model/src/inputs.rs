//! Values for the parameters of a workflow: what is given, checked against what is declared. It does not know where
//! values come from; texts (`--input k=v`) are read by the declared type.

use serde_json::{Map, Value};

use crate::diagnostic::{Diagnostic, Severity, quoted};
use crate::workflow::Workflow;

/// A value as it was given.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// Text of a command line: read by the parameter's type.
    Text(String),
    /// A value of a JSON file: must have the parameter's type.
    Value(Value),
}

/// The values of all parameters: given ones (the last of a name wins) over defaults. Everything that is wrong is told.
pub fn bind(workflow: &Workflow, given: &[(String, Given)]) -> Result<Map<String, Value>, Vec<Diagnostic>> {
    let mut faults = Vec::new();
    for (name, _) in given {
        if !workflow.inputs.iter().any(|input| input.name == *name) {
            let known: Vec<_> = workflow.inputs.iter().map(|input| input.name.as_str()).collect();
            let help = match known.is_empty() {
                true => "the workflow declares no `inputs:`".to_owned(),
                false => format!("known parameters: {}", known.join(", ")),
            };
            faults.push(fault("unknown-input", format!("there is no parameter {}", quoted(name)), help));
        }
    }
    let mut values = Map::new();
    for input in &workflow.inputs {
        let last = given.iter().rev().find(|(name, _)| *name == input.name).map(|(_, given)| given);
        let value = match last {
            Some(Given::Text(text)) => input.kind.parse(text),
            Some(Given::Value(value)) => Some(value.clone()).filter(|value| input.kind.accepts(value)),
            None => match &input.default {
                Some(default) => Some(default.clone()),
                None => {
                    let message = format!("the parameter {} must be given", quoted(&input.name));
                    let help = format!("for example `--input {}=…` ({})", input.name, input.kind.name());
                    faults.push(fault("missing-input", message, help));
                    continue;
                }
            },
        };
        match value {
            Some(value) => {
                values.insert(input.name.clone(), value);
            }
            None => {
                let message = format!("the parameter {} must be of type {}", quoted(&input.name), input.kind.name());
                faults.push(fault("bad-type", message, "numbers, lists and objects are written as JSON".into()));
            }
        }
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}

fn fault(code: &'static str, message: String, help: String) -> Diagnostic {
    let severity = Severity::Error;
    Diagnostic { severity, code, task: None, message, line: 1, column: 1, span: 0..0, help: Some(help) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog::Catalog;
    use crate::read::{NoSources, parse};

    #[test]
    fn parameters_are_typed() {
        let text = "inputs: {who: {type: string}, n: {type: integer, default: 2}}\ntasks: [{id: a, run: x}]";
        let parsed = parse(text.as_bytes(), "wf.yaml", &NoSources, &Catalog::builtin());
        let workflow = parsed.workflow.expect("valid");
        let given = |list: &[(&str, Given)]| {
            let list: Vec<_> = list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            bind(&workflow, &list)
                .map_err(|faults| faults.iter().map(|d| d.code).collect::<Vec<_>>())
                .map(Value::Object)
        };
        let text = |text: &str| Given::Text(text.to_owned());
        assert_eq!(given(&[("who", text("5"))]), Ok(json!({"who": "5", "n": 2})));
        assert_eq!(given(&[("who", text("a")), ("n", text("5")), ("who", text("b"))]), Ok(json!({"who": "b", "n": 5})));
        assert_eq!(
            given(&[("who", Given::Value(json!("x"))), ("n", Given::Value(json!(9)))]),
            Ok(json!({"who": "x", "n": 9}))
        );
        assert_eq!(given(&[]), Err(vec!["missing-input"]));
        assert_eq!(given(&[("who", text("x")), ("n", text("many"))]), Err(vec!["bad-type"]));
        assert_eq!(given(&[("who", text("x")), ("zz", text("1"))]), Err(vec!["unknown-input"]));
    }
}
