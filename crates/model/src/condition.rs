//! `when:` as an expression: literals, references, comparisons, `&&`, `||`, `!` and parentheses. It does not know what
//! references hold; a [`Scope`] supplies it. There are no functions and no arithmetic: what needs more is a task.
//!
//! ```text
//! or    = and ("||" and)*        and = not ("&&" not)*       not = "!" not | comparison
//! comparison = value (("==" | "!=" | "<" | "<=" | ">" | ">=") value)?
//! value = "(" or ")" | reference | JSON literal | 'text'
//! ```

use std::cmp::Ordering;

use serde_json::Value;

use crate::diagnostic::{Sink, quoted};
use crate::references::{self, Names, Use};
use crate::syntax::{Span, json_prefix};
use crate::template::{Reference, Scope};

/// A condition that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    root: Expression,
    /// As written.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Expression {
    Literal(Value),
    Reference(Box<Reference>),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Compare(Box<Expression>, Comparison, Box<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Longest first, so that `<=` is not read as `<`.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];
/// Deeper nesting is refused.
const MAX_DEPTH: usize = 64;
/// More `&&` and `||` are refused: they are as deep as they are many.
const MAX_TERMS: usize = 1000;

impl Condition {
    /// Whether it holds; the error is a sentence without a full stop.
    pub fn holds(&self, scope: &dyn Scope) -> Result<bool, String> {
        truth(&self.root, scope)
    }

    /// The references in it.
    pub fn references(&self) -> Vec<&Reference> {
        let (mut found, mut open) = (Vec::new(), vec![&self.root]);
        while let Some(expression) = open.pop() {
            match expression {
                Expression::Literal(_) => {}
                Expression::Reference(reference) => found.push(&**reference),
                Expression::Not(one) => open.push(one),
                Expression::And(a, b) | Expression::Or(a, b) | Expression::Compare(a, _, b) => open.extend([&**a, b]),
            }
        }
        found
    }
}

fn truth(expression: &Expression, scope: &dyn Scope) -> Result<bool, String> {
    Ok(match expression {
        Expression::Not(one) => !truth(one, scope)?,
        Expression::And(a, b) => truth(a, scope)? && truth(b, scope)?,
        Expression::Or(a, b) => truth(a, scope)? || truth(b, scope)?,
        Expression::Compare(a, how, b) => compare(&value(a, scope)?, *how, &value(b, scope)?)?,
        Expression::Literal(_) | Expression::Reference(_) => match value(expression, scope)? {
            Value::Bool(truth) => truth,
            other => return Err(format!("{} is neither true nor false", shown(&other))),
        },
    })
}

fn value(expression: &Expression, scope: &dyn Scope) -> Result<Value, String> {
    Ok(match expression {
        Expression::Literal(value) => value.clone(),
        Expression::Reference(reference) => reference.resolve(scope).map_err(|e| e.to_string())?.into_owned(),
        other => Value::Bool(truth(other, scope)?),
    })
}

fn compare(a: &Value, how: Comparison, b: &Value) -> Result<bool, String> {
    use Comparison::*;
    let is = |wanted: fn(Ordering) -> bool| match order(a, b) {
        Some(order) => Ok(wanted(order)),
        None => Err(format!("{} and {} have no order: only two numbers or two texts have", shown(a), shown(b))),
    };
    match how {
        Equal => Ok(equal(a, b)),
        Unequal => Ok(!equal(a, b)),
        Less => is(Ordering::is_lt),
        LessOrEqual => is(Ordering::is_le),
        Greater => is(Ordering::is_gt),
        GreaterOrEqual => is(Ordering::is_ge),
    }
}

/// 1 and 1.0 are the same number, also inside of lists and objects; nothing else is converted.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => order(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(x), Value::Number(y)) => match (x.as_i128(), y.as_i128()) {
            // Large integers are not rounded to be compared.
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            _ => x.as_f64()?.partial_cmp(&y.as_f64()?),
        },
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    quoted(&value.to_string())
}

/// Reads a condition. Faults are told; uses are appended.
pub(crate) fn read(
    text: &str,
    span: Span,
    names: &Names<'_>,
    uses: &mut Vec<Use>,
    sink: &mut Sink<'_>,
) -> Option<Condition> {
    let errors = sink.errors();
    let mut reader = Reader { text, at: 0, span, names, uses, sink, depth: 0, terms: 1 };
    let root = reader.or()?;
    if reader.rest() != "" {
        reader.wrong::<()>("an operator or the end");
    }
    (sink.errors() == errors).then(|| Condition { root, text: text.to_owned() })
}

struct Reader<'a, 'n, 't> {
    text: &'a str,
    at: usize,
    span: Span,
    names: &'a Names<'n>,
    uses: &'a mut Vec<Use>,
    sink: &'a mut Sink<'t>,
    depth: usize,
    terms: usize,
}

impl Reader<'_, '_, '_> {
    fn rest(&mut self) -> &str {
        let rest = &self.text[self.at..];
        self.at = self.text.len() - rest.trim_start().len();
        &self.text[self.at..]
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Tells what was expected here; nothing of the expression is usable then.
    fn wrong<T>(&mut self, expected: &str) -> Option<T> {
        let rest = self.rest();
        let found = if rest.is_empty() { "the end".to_owned() } else { quoted(rest.get(..20).unwrap_or(rest)) };
        let span = self.sink.within(self.span, self.text, self.at);
        self.sink
            .error("bad-condition", span, format!("`when` expects {expected}, not {found}"))
            .help("literals, references, == != < <= > >= && || ! and parentheses, as in `$OUTPUT[a].n > 2`");
        None
    }

    fn or(&mut self) -> Option<Expression> {
        let mut left = self.and()?;
        while self.takes("||") {
            self.another()?;
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Expression> {
        let mut left = self.not()?;
        while self.takes("&&") {
            self.another()?;
            left = Expression::And(Box::new(left), Box::new(self.not()?));
        }
        Some(left)
    }

    fn not(&mut self) -> Option<Expression> {
        if self.rest().starts_with('!') {
            self.at += 1;
            self.deeper()?;
            let inner = self.not()?;
            self.depth -= 1;
            return Some(Expression::Not(Box::new(inner)));
        }
        let left = self.value()?;
        let Some((_, how)) = COMPARISONS.into_iter().find(|(word, _)| self.takes(word)) else { return Some(left) };
        let right = self.value()?;
        if COMPARISONS.into_iter().any(|(word, _)| self.rest().starts_with(word)) {
            return self.wrong("`&&`, `||` or the end after a comparison");
        }
        Some(Expression::Compare(Box::new(left), how, Box::new(right)))
    }

    fn value(&mut self) -> Option<Expression> {
        if self.takes("(") {
            self.deeper()?;
            let inner = self.or()?;
            self.depth -= 1;
            return if self.takes(")") { Some(inner) } else { self.wrong("`)`") };
        }
        let (text, at) = (self.text, self.at);
        let rest = &text[at..];
        if let Some((reference, length)) = references::leading(rest, self.span, self.names, self.uses, self.sink) {
            self.at += length;
            return Some(Expression::Reference(Box::new(reference?)));
        }
        if let Some(quote) = rest.strip_prefix('\'') {
            let Some(end) = quote.find('\'') else { return self.wrong("a text that ends") };
            self.at += end + 2;
            return Some(Expression::Literal(Value::String(quote[..end].to_owned())));
        }
        match json_prefix(rest) {
            Some((value, length)) => {
                self.at += length;
                Some(Expression::Literal(value))
            }
            None => self.wrong("a value"),
        }
    }

    fn another(&mut self) -> Option<()> {
        self.terms += 1;
        if self.terms > MAX_TERMS { self.wrong("at most 1000 terms") } else { Some(()) }
    }

    fn deeper(&mut self) -> Option<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.wrong("less nesting") } else { Some(()) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::*;
    use crate::template::Lookup;
    use std::borrow::Cow;

    struct One(Value);

    impl Scope for One {
        fn output(&self, _: u32) -> Lookup<'_> {
            Lookup::Missing
        }

        fn input(&self, _: &str) -> Lookup<'_> {
            Lookup::Value(Cow::Borrowed(&self.0))
        }
    }

    fn said(text: &str) -> Result<bool, String> {
        let input = crate::workflow::InputDeclaration {
            name: "v".into(),
            kind: crate::workflow::InputType::Object,
            default: None,
            description: None,
        };
        let (tasks, inputs) = (Default::default(), [input]);
        let names = Names { tasks: &tasks, inputs: &inputs, has_item: false };
        let mut sink = Sink::new(text);
        let span = Span { start: 0, end: text.len() as u32 };
        let read = read(text, span, &names, &mut Vec::new(), &mut sink);
        let faults = sink.finish();
        let Some(condition) = read else { return Err(format!("{} {}", faults[0].column, faults[0].message)) };
        assert!(faults.is_empty());
        let value = serde_json::json!({"n": 3, "ok": true, "s": "x y", "l": [1, 2], "big": 9007199254740993u64});
        condition.holds(&One(value))
    }

    #[test]
    fn conditions_mean_what_they_say() {
        for (text, wanted) in [
            ("$INPUT[v].n == 3", true),
            ("$INPUT[v].n == 3.0 && $INPUT[v].l == [1.0, 2]", true),
            ("$INPUT[v].n != 3", false),
            ("$INPUT[v].n > 2 && $INPUT[v].ok", true),
            ("$INPUT[v].s == \"x y\" || false", true),
            ("$INPUT[v].s < 'x z'", true),
            ("!$INPUT[v].ok", false),
            ("!($INPUT[v].n >= 4) && !false", true),
            ("false && $INPUT[v].nothing", false),
            ("true || $INPUT[v].nothing == 1", true),
            ("true || false && false", true),
            ("$INPUT[v].none ?? false", false),
            ("($INPUT[v].none ?? 7) == 7", true),
            ("$INPUT[v].big == 9007199254740992", false),
            ("($INPUT[v].n == 3) == true", true),
            ("null == null", true),
            ("$INPUT[v].n == '3'", false),
        ] {
            assert_eq!(said(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_neither_true_nor_false_is_an_error() {
        assert!(said("$INPUT[v].n").unwrap_err().contains("neither true nor false"));
        assert!(said("$INPUT[v].n < '4'").unwrap_err().contains("no order"));
        assert!(said("$INPUT[v].nothing == 1").unwrap_err().contains("nothing"));
    }

    #[test]
    fn faults_have_their_place() {
        for (text, place) in
            [("$INPUT[v].n = 3", "13 "), ("1 <", "4 "), ("(1 == 1", "8 "), ("1 < 2 < 3", "7 "), ("", "1 ")]
        {
            let fault = said(text).unwrap_err();
            assert!(fault.starts_with(place), "{text}: {fault}");
        }
        assert!(said(&"(".repeat(100)).unwrap_err().contains("nesting"));
        for operator in ["||", "&&"] {
            let many = |terms: usize| said(&vec!["true"; terms].join(operator));
            assert_eq!(many(1000), Ok(true));
            assert!(many(300_000).unwrap_err().contains("1000 terms"));
        }
    }
}
