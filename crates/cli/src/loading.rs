//! From what the person named to a validated workflow with its surroundings, and its diagnostics shown. It does not
//! know what the workflow is wanted for.

use std::sync::Arc;

use raddle_model::router;
use raddle_model::workflow::{OptimizationMode, Strength, Task, TaskKind, Workflow};
use raddle_model::{CodeFault, Diagnostic, Severity, Sources, parse, parse_changed};

use crate::args::Shape;
use crate::exit::Exit;
use crate::plan::history::History as _;
use crate::problem::Problem;
use crate::project::{self, Project};
use crate::report::{self, Fault, Source};
use crate::run::history::Earlier;
use crate::source::{Definition, FolderSources};
use crate::terminal::{self, Colour, counted};

/// A workflow that was read, valid or not.
#[derive(Debug)]
pub struct Loaded {
    /// Its text and where it came from.
    pub definition: Definition,
    /// Configuration, catalog and what else is known outside the file.
    pub project: Project,
    /// There when no diagnostic is an error. Mode, level and optimisation of the command line are already in it.
    pub workflow: Option<Workflow>,
    /// Everything there is to say about the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Sources for FolderSources {
    fn read(&self, path: &str) -> Result<String, String> {
        self.text(path)
    }

    fn code_fault(&self, code: &str) -> Option<CodeFault> {
        raddle_sandbox::syntax_fault(code).map(|(message, place)| CodeFault { message, place })
    }
}

/// Finds, reads and validates; problems of the file itself are diagnostics, not errors.
pub fn load(shape: &Shape, colour: Colour) -> Result<Loaded, Problem> {
    load_definition(Definition::find(shape.file.as_deref())?, shape, colour)
}

/// The same for a text that is already there (a resume reads it from the journal).
pub fn load_definition(definition: Definition, shape: &Shape, colour: Colour) -> Result<Loaded, Problem> {
    let project = project::load(&definition.base_dir, shape, colour)?;
    let (workflow, diagnostics) = judge(&definition, shape, &project)?;
    Ok(Loaded { definition, project, workflow, diagnostics })
}

/// The workflow of a text in known surroundings, if it is one, and everything there is to say about it.
pub fn judge(
    definition: &Definition,
    shape: &Shape,
    project: &Project,
) -> Result<(Option<Workflow>, Vec<Diagnostic>), Problem> {
    let sources = FolderSources { base_dir: definition.base_dir.clone() };
    let parse = if definition.is_changed { parse_changed } else { parse };
    let parsed = parse(&definition.text, definition.model_name(), &sources, &project.catalog);
    let (mut workflow, mut diagnostics) = (parsed.workflow, parsed.diagnostics);
    if let Some(workflow) = &mut workflow {
        shape.apply(workflow);
        refuse_speculation(workflow)?;
    }
    let text = String::from_utf8_lossy(&definition.text);
    if let Some(chosen) = &mut workflow {
        let wrong = models(chosen, &text, project);
        if !wrong.is_empty() {
            diagnostics.extend(wrong);
            workflow = None;
        }
    }
    Ok((workflow, diagnostics))
}

/// Chooses models where the file says `auto`, and judges those of executor `api`.
fn models(workflow: &mut Workflow, text: &str, project: &Project) -> Vec<Diagnostic> {
    let is_auto = |task: &Task| matches!(&task.kind, TaskKind::Agent(a) if a.model.as_deref() == Some(router::AUTO));
    let mut wrong = Vec::new();
    if workflow.tasks.iter().any(is_auto) {
        // Only who asks for a choice has earlier runs looked at.
        let history = Earlier.of(&workflow.name);
        for none in router::choose(workflow, &project.tiers, &project.catalog.models, &history) {
            let message = format!("`model: auto` can choose none: {}", none.why);
            wrong.push(project::providers::no_model(&workflow.tasks[none.task], text, message));
        }
    }
    wrong.extend(project::providers::check(workflow, text, &project.api));
    wrong
}

/// `aggressive` differs from `balanced` only for effect-free tasks with a soft dependency: they would start early,
/// which is not built. Any other workflow runs the same way, so the word alone is no reason to refuse it.
fn refuse_speculation(workflow: &Workflow) -> Result<(), Problem> {
    if workflow.optimization != OptimizationMode::Aggressive {
        return Ok(());
    }
    let is_soft = |task: &&Task| !task.side_effects && task.depends_on.iter().any(|d| d.strength == Strength::Soft);
    match workflow.tasks.iter().find(is_soft) {
        None => Ok(()),
        Some(task) => Err(Problem::not_yet("optimization=aggressive", "starts soft dependents before they are due")
            .hint(format!("task {} would be one; `balanced` waits for its soft dependencies", task.id))),
    }
}

impl Loaded {
    /// Whether nothing may be executed: an error, or a warning under `--strict`.
    pub fn is_refused(&self, strict: bool) -> bool {
        self.workflow.is_none() || (strict && !self.diagnostics.is_empty())
    }

    /// Takes code that is none for an error. A run goes on until the task fails, safely where that is allowed; whoever
    /// only asks whether the file is sound wants to hear no.
    pub fn refuse_bad_code(&mut self) {
        for diagnostic in self.diagnostics.iter_mut().filter(|diagnostic| diagnostic.code == "bad-code") {
            diagnostic.severity = Severity::Error;
            self.workflow = None;
        }
    }

    /// Shows the diagnostics on stderr.
    pub fn tell(&self, colour: Colour) {
        let faults = faults(&self.definition, &self.diagnostics);
        let mut text = report::render(&faults, colour);
        // What was left out of the surroundings matters only when the file names something that is not there.
        if self.workflow.is_none() {
            for note in &self.project.notes {
                text.push_str(&format!("note: {}\n", terminal::harmless(note)));
            }
        }
        terminal::tell(&text);
    }

    /// Shows the diagnostics and gives the workflow, or exit code 2.
    pub fn accepted(mut self, strict: bool, colour: Colour) -> Result<(Workflow, Loaded), Problem> {
        self.tell(colour);
        if self.is_refused(strict) {
            terminal::tell(&format!("{}\n", verdict(&self.definition.name, &self.diagnostics)));
            return Err(Problem::told(Exit::Usage));
        }
        let workflow = self.workflow.take().expect("a workflow that is not refused is there");
        Ok((workflow, self))
    }
}

/// `wf.yaml: 3 errors, 1 warning`.
pub fn verdict(name: &str, diagnostics: &[Diagnostic]) -> String {
    let name = terminal::harmless(name);
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    let warnings = diagnostics.len() - errors;
    let mut parts = Vec::new();
    if errors > 0 {
        parts.push(counted(errors, "error"));
    }
    if warnings > 0 {
        parts.push(counted(warnings, "warning"));
    }
    format!("{name}: {}", if parts.is_empty() { "valid".to_owned() } else { parts.join(", ") })
}

/// Diagnostics with their text beside them.
pub fn faults(definition: &Definition, diagnostics: &[Diagnostic]) -> Vec<Fault> {
    if diagnostics.is_empty() {
        return Vec::new();
    }
    // Spans are bytes of the text as it is; a text that is none has no lines to show.
    let text = String::from_utf8(definition.text.clone()).unwrap_or_default();
    let source = Arc::new(Source { name: definition.name.clone(), text });
    let fault = |d: &Diagnostic| Fault {
        severity: match d.severity {
            Severity::Error => report::Severity::Error,
            Severity::Warning => report::Severity::Warning,
        },
        code: d.code,
        message: d.message.clone(),
        task: d.task.clone(),
        source: Some(Arc::clone(&source)),
        span: d.span.clone(),
        line: d.line,
        column: d.column,
        help: d.help.clone(),
    };
    diagnostics.iter().map(fault).collect()
}
