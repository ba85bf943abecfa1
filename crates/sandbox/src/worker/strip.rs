//! TypeScript to JavaScript: types are removed, enums and parameter properties become code. It does not run anything.
//!
//! The text is a function body. It is parsed as one, inside `(async function() {…})`, so that `return` and `await`
//! stand where the language allows them, and it is checked that the text did not close that function itself.
//! The printer moves things, so positions are mapped back; that costs a second pass, made only when an error is told.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use oxc_allocator::Allocator;
use oxc_ast::ast::{Expression, Program, Statement};
use oxc_codegen::{Codegen, CodegenOptions, CodegenReturn, CommentOptions};
use oxc_diagnostics::{OxcDiagnostic, Severity};
use oxc_parser::Parser;
use oxc_semantic::SemanticBuilder;
use oxc_span::SourceType;
use oxc_transformer::{TransformOptions, Transformer};

const BEFORE: &str = "(async function() {";
const AFTER: &str = "\n})";
/// How much code the cache may hold, both texts counted.
const CACHE_BYTES: usize = 4 << 20;

/// Longest code; nobody writes this much, and parsing more would take longer than running it may.
const MAX_CODE: usize = 8 << 20;

/// Longer code is not judged by [`syntax_fault`].
const MAX_JUDGED: usize = 32 << 10;
/// What [`syntax_fault`] gives the parser to descend on.
const STACK: usize = 1 << 20;
/// The same for each byte of code: several times what a level takes without optimisation.
const STACK_PER_BYTE: usize = 16 << 10;

/// Strips, and remembers what it has stripped.
#[derive(Debug, Default)]
pub(crate) struct Stripper {
    cache: HashMap<Box<str>, Rc<str>>,
    held: usize,
}

/// A line and a column in the user's text, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// The text is not TypeScript.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) place: Option<Place>,
}

/// What is wrong with the syntax of a function body, and where: line and column, both from 1. `None`: nothing is, or
/// the code is too long to be judged outside of a worker.
///
/// The parser descends by recursion, a level for a letter at worst, and a stack that overflows ends the process, which
/// is the engine here. So it gets a stack that such code cannot fill; what is longer is judged by the worker that is to
/// run it, which may die. Of the stack only what is used takes memory.
pub fn syntax_fault(code: &str) -> Option<(String, Option<(u32, u32)>)> {
    if code.len() > MAX_JUDGED {
        return None;
    }
    let judge = || Stripper::default().strip(code).err();
    let SyntaxError { message, place } = std::thread::scope(|scope| {
        let stack = STACK + code.len() * STACK_PER_BYTE;
        let thread = std::thread::Builder::new().name("syntax".to_owned()).stack_size(stack);
        // Without a thread it is not judged here either.
        thread.spawn_scoped(scope, judge).ok()?.join().ok()?
    })?;
    Some((message, place.map(|place| (place.line, place.column))))
}

impl Stripper {
    /// JavaScript for a function body: an expression whose value is an async function.
    pub(crate) fn strip(&mut self, code: &str) -> Result<Rc<str>, SyntaxError> {
        if let Some(known) = self.cache.get(code) {
            return Ok(Rc::clone(known));
        }
        if code.len() > MAX_CODE {
            return Err(SyntaxError { message: format!("the code is longer than {MAX_CODE} bytes"), place: None });
        }
        let stripped: Rc<str> = print(code, |source| codegen(source, None).code)?.into();
        let cost = code.len() + stripped.len();
        if self.held + cost > CACHE_BYTES {
            self.cache.clear();
            self.held = 0;
        }
        if cost <= CACHE_BYTES {
            self.held += cost;
            self.cache.insert(code.into(), Rc::clone(&stripped));
        }
        Ok(stripped)
    }
}

/// Where in the user's text a place of the stripped text comes from.
pub(crate) fn original_place(code: &str, stripped: Place) -> Option<Place> {
    let map = print(code, |source| {
        let map = codegen(source, Some(Path::new("code"))).map?;
        let (line, column) = (stripped.line.checked_sub(1)?, stripped.column.checked_sub(1)?);
        // The last mapping on the line at or before the column, else the first one.
        let tokens = map.get_tokens().filter(|t| t.get_dst_line() == line).collect::<Vec<_>>();
        let token = tokens.iter().rfind(|t| t.get_dst_col() <= column).or(tokens.first())?;
        Some((token.get_src_line(), token.get_src_col()))
    });
    let (line, column) = map.ok()??;
    let before = if line == 0 { u32::try_from(BEFORE.len()).ok()? } else { 0 };
    Some(Place { line: line + 1, column: column.checked_sub(before)? + 1 })
}

fn codegen<'a>(program: &Program<'a>, map: Option<&Path>) -> CodegenReturn<'a> {
    let options = CodegenOptions {
        comments: CommentOptions::disabled(),
        source_map_path: map.map(Path::to_path_buf),
        ..CodegenOptions::default()
    };
    Codegen::new().with_options(options).build(program)
}

fn print<T>(code: &str, printer: impl FnOnce(&Program<'_>) -> T) -> Result<T, SyntaxError> {
    // A first line for the system's loader is a comment to the language only at the very beginning of a file.
    let (comment, code) = code.strip_prefix("#!").map_or(("", code), |rest| ("//", rest));
    let source = [BEFORE, comment, code, AFTER].concat();
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, &source, SourceType::ts()).parse();
    if let Some(error) = first_error(&parsed.diagnostics) {
        return Err(told(error, &source));
    }
    let mut program = parsed.program;
    if !is_one_function(&program) {
        let message = "the braces of the code do not match: a `}` closes more than was opened".to_owned();
        return Err(SyntaxError { message, place: None });
    }
    let semantic = SemanticBuilder::new().with_excess_capacity(1.0).with_enum_eval(true).build(&program);
    if let Some(error) = first_error(&semantic.diagnostics) {
        return Err(told(error, &source));
    }
    let scoping = semantic.semantic.into_scoping();
    let transformed = Transformer::new(&allocator, Path::new("code.ts"), &TransformOptions::default())
        .build_with_scoping(scoping, &mut program);
    if let Some(error) = first_error(&transformed.diagnostics) {
        return Err(told(error, &source));
    }
    Ok(printer(&program))
}

fn is_one_function(program: &Program<'_>) -> bool {
    let [Statement::ExpressionStatement(statement)] = program.body.as_slice() else { return false };
    let Expression::ParenthesizedExpression(group) = &statement.expression else { return false };
    program.directives.is_empty() && matches!(group.expression, Expression::FunctionExpression(_))
}

fn first_error(diagnostics: &[OxcDiagnostic]) -> Option<&OxcDiagnostic> {
    diagnostics.iter().find(|d| d.severity == Severity::Error)
}

fn told(error: &OxcDiagnostic, source: &str) -> SyntaxError {
    let place = error.labels.first().and_then(|label| {
        let offset = label.offset() as usize;
        let end_of_code = source.len() - AFTER.len();
        let before = source.get(..offset.min(end_of_code))?;
        let line_start = before.rfind('\n').map_or(BEFORE.len(), |at| at + 1);
        let column = source.get(line_start.min(before.len())..before.len())?.chars().count();
        let line = before.matches('\n').count();
        Some(Place { line: u32::try_from(line).ok()? + 1, column: u32::try_from(column).ok()? + 1 })
    });
    SyntaxError { message: error.message.to_string(), place }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(code: &str) -> Result<Rc<str>, SyntaxError> {
        Stripper::default().strip(code)
    }

    #[test]
    fn types_go_and_code_stays() {
        let js = strip("interface P { a: string }\nconst p = { a: 'x' } as P;\nreturn p!.a satisfies string").unwrap();
        assert!(!js.contains("interface") && !js.contains("satisfies") && js.contains("return p.a"), "{js}");
        let js = strip("enum E { A = 1, B }\nclass C { constructor(private x: number) {} }\nreturn E.B").unwrap();
        assert!(js.contains("this.x = x"), "{js}");
    }

    #[test]
    fn code_cannot_leave_its_function() {
        for code in ["}); evil(); (async function() {", "}, async function() {", "})(), (async function() {", "}"] {
            assert!(strip(code).is_err(), "{code}");
        }
    }

    #[test]
    fn syntax_errors_name_their_place() {
        let place = |code: &str| strip(code).unwrap_err().place;
        assert_eq!(place("const x: = 3"), Some(Place { line: 1, column: 10 }));
        assert_eq!(place("const ü = 1;\n  let 5x;"), Some(Place { line: 2, column: 8 }));
        assert!(place("return {").is_some());
    }

    #[test]
    fn deep_code_does_not_end_the_process() {
        for deep in [5_000, 16_000, 20_000] {
            for (open, close) in [("(", ")"), ("[", "]"), ("!", ""), ("{", "}"), ("-+", ""), ("a=>", ""), ("`${", "}`")]
            {
                let _ = syntax_fault(&format!("{}1{}", open.repeat(deep), close.repeat(deep)));
            }
        }
        // Nothing is closed, so each letter is a level.
        for open in
            ["(", "[", "{", "!", "~", "<", "`${", "x?", "if(1)", "(a)=>", "a.b(", "class A{x=", "type T=", "async()=>"]
        {
            let _ = syntax_fault(&open.repeat(MAX_JUDGED / open.len()));
        }
        assert_eq!(syntax_fault(&format!("return {}1{}", "(".repeat(5_000), ")".repeat(5_000))), None);
        assert!(syntax_fault("return {").is_some());
    }

    #[test]
    fn places_are_those_of_the_users_text() {
        let code = "type A = number;\n\n\nconst f = (a: A) => {\n  throw new Error('x');\n};\nreturn f(1);";
        let js = strip(code).unwrap();
        let line = js.lines().position(|l| l.contains("throw")).unwrap();
        let column = js.lines().nth(line).unwrap().find("new").unwrap();
        let generated = Place { line: line as u32 + 1, column: column as u32 + 1 };
        assert_eq!(original_place(code, generated), Some(Place { line: 5, column: 9 }));
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut stripper = Stripper::default();
        for i in 0..100 {
            stripper.strip(&format!("return {i}; // {}", "x".repeat(100_000))).unwrap();
            assert!(stripper.held <= CACHE_BYTES);
        }
    }
}
