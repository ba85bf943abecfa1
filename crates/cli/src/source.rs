//! Where a workflow's text comes from: a file, stdin, the command line, the default files. It does not know what the
//! text says.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::problem::{Problem, io_words};

/// Names that are tried when no workflow is given.
pub const DEFAULT_FILES: [&str; 2] = ["workflow.yaml", "dag.yaml"];
/// One byte more than the model accepts, so that it can say that the text is too long.
const DEFINITION_LIMIT: u64 = (16 << 20) + 1;
/// The largest `code_file`.
const CODE_LIMIT: u64 = 4 << 20;

/// A workflow's text and what relative paths in it start from.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The bytes as they were read; cut one byte over the model's limit.
    pub text: Vec<u8>,
    /// Its name for people and for the workflow's default name: the path as given, `-`, `inline`.
    pub name: String,
    /// The folder of the file, else the current folder; absolute.
    pub base_dir: PathBuf,
    /// Whether a run has changed it: it may then hold what people cannot write (see [`raddle_model::patch`]).
    pub is_changed: bool,
}

impl Definition {
    /// Reads what the person named; without a name, the first default file that is there.
    pub fn find(named: Option<&str>) -> Result<Definition, Problem> {
        let cwd = std::env::current_dir().map_err(|e| Problem::io("find the current folder", &e))?;
        match named {
            Some("-") => {
                let text =
                    bounded(&mut io::stdin().lock(), DEFINITION_LIMIT).map_err(|e| Problem::io("read stdin", &e))?;
                Ok(Definition { text, name: "-".to_owned(), base_dir: cwd, is_changed: false })
            }
            Some(text) if text.starts_with('{') => {
                let text = text.as_bytes().to_vec();
                Ok(Definition { text, name: "inline".to_owned(), base_dir: cwd, is_changed: false })
            }
            Some(path) => Definition::read(&cwd, path),
            None => match DEFAULT_FILES.iter().find(|name| cwd.join(name).exists()) {
                Some(name) => Definition::read(&cwd, name),
                None => Err(Problem::usage("no workflow given, and there is no workflow.yaml or dag.yaml here")
                    .hint("name a file, `-` for stdin, or JSON text that begins with `{`")),
            },
        }
    }

    /// The name that tells the model the format and the workflow's default name; texts without a file have none.
    pub fn model_name(&self) -> &str {
        if matches!(self.name.as_str(), "-" | "inline") { "" } else { &self.name }
    }

    fn read(cwd: &Path, name: &str) -> Result<Definition, Problem> {
        let path = cwd.join(name);
        // A prefix is enough: the model refuses what is over its limit.
        let text = File::open(&path)
            .and_then(|mut file| no_folder(&file).and_then(|()| bounded(&mut file, DEFINITION_LIMIT)))
            .map_err(|e| Problem::usage(format!("cannot read {name}: {}", io_words(&e))))?;
        let base_dir = path.parent().unwrap_or(cwd);
        let base_dir = base_dir.canonicalize().map_err(|e| Problem::io(format!("find the folder of {name}"), &e))?;
        Ok(Definition { text, name: name.to_owned(), base_dir, is_changed: false })
    }
}

/// Files that a workflow names, read for the model.
#[derive(Debug)]
pub struct FolderSources {
    /// What relative paths start from.
    pub base_dir: PathBuf,
}

impl FolderSources {
    /// The text of a file, or why not, as a lowercase fragment.
    pub fn text(&self, path: &str) -> Result<String, String> {
        let bytes = read_bounded(&self.base_dir.join(path), CODE_LIMIT)?;
        String::from_utf8(bytes).map_err(|_| "it is not valid UTF-8".to_owned())
    }
}

/// Reads a regular file up to a limit; over it is an error, told as a lowercase fragment.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    // Asked before opening, because opening a FIFO would wait for ever.
    if !std::fs::metadata(path).map_err(|e| io_words(&e))?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut file = File::open(path).map_err(|e| io_words(&e))?;
    let bytes = bounded(&mut file, limit + 1).map_err(|e| io_words(&e))?;
    if bytes.len() as u64 > limit { Err(format!("it is larger than {} KB", limit >> 10)) } else { Ok(bytes) }
}

fn bounded(from: &mut dyn Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reading a folder gives a message that nobody understands. A FIFO is fine: `raddle run <(make-workflow)`.
fn no_folder(file: &File) -> io::Result<()> {
    if file.metadata()?.is_dir() { Err(io::Error::other("it is a folder")) } else { Ok(()) }
}
