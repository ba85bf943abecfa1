//! `raddle validate`: all faults of all files at once. It does not know what makes a fault.

use raddle_model::Diagnostic;
use serde::Serialize;

use crate::args::{Shape, ValidateArgs};
use crate::exit::Exit;
use crate::loading::{self, verdict};
use crate::problem::Problem;
use crate::terminal::{self, Colour};

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    valid: bool,
    diagnostics: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    diagnostic: &'a Diagnostic,
    /// Only when there is more than one file.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
}

/// Checks every file; exit 2 when one of them is refused.
pub fn validate(args: ValidateArgs, colour: Colour) -> Result<Exit, Problem> {
    let named: Vec<Option<String>> = match args.files.len() {
        0 => vec![None],
        _ => args.files.into_iter().map(Some).collect(),
    };
    let mut files = Vec::with_capacity(named.len());
    for file in named {
        let mut loaded = loading::load(&Shape { file, ..Shape::default() }, colour)?;
        loaded.refuse_bad_code();
        files.push(loaded);
    }
    let refused = files.iter().any(|file| file.is_refused(args.strict));
    if args.json {
        let several = files.len() > 1;
        let entries = files.iter().flat_map(|file| {
            let name = several.then_some(file.definition.name.as_str());
            file.diagnostics.iter().map(move |diagnostic| Entry { diagnostic, file: name })
        });
        let document = Document { valid: !refused, diagnostics: entries.collect() };
        let text = serde_json::to_string(&document).expect("a diagnostic has text keys and plain values only");
        terminal::print(&format!("{text}\n"))?;
    } else {
        for file in &files {
            file.tell(colour);
            terminal::tell(&format!("{}\n", verdict(&file.definition.name, &file.diagnostics)));
        }
    }
    Ok(if refused { Exit::Usage } else { Exit::Success })
}
