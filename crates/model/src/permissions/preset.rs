//! Named grants for the usual needs. It does not know who asks for one; what a preset says is asked for like anything
//! else that is written, and written fields stand over it.

use super::path::PathPattern;
use super::scope::Scope;
use super::tool::ToolRule;
use super::{NetworkAccess, Request};

/// A named grant. Models and money are left as they are inherited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// No tools, no files, no network.
    Minimal,
    /// Reads the folder that tasks start in.
    ReadOnly,
    /// Reads and writes that folder and runs commands, without network.
    Workspace,
    /// The same with network.
    Network,
    /// Everything that the user may.
    Trusted,
}

impl Preset {
    /// The words of `preset:`.
    pub const WORDS: &'static [(&'static str, Preset)] = &[
        ("minimal", Preset::Minimal),
        ("read-only", Preset::ReadOnly),
        ("workspace", Preset::Workspace),
        ("network", Preset::Network),
        ("trusted", Preset::Trusted),
    ];

    /// What it asks for.
    pub fn request(self) -> Request {
        let reading = &["Read", "Grep", "Glob"][..];
        let working = &["Read", "Write", "Edit", "Bash", "Grep", "Glob", "NotebookEdit", "TodoWrite"][..];
        let everywhere = &["WebFetch", "WebSearch"][..];
        let tools = |lists: &[&[&str]]| {
            Some(Scope::Only(lists.concat().iter().map(|name| ToolRule::Named((*name).to_owned())).collect()))
        };
        let here = || {
            let pattern = PathPattern::parse("./**").expect("the pattern is one");
            Some(Scope::Only(vec![pattern]))
        };
        let nothing = || Some(Scope::Only(Vec::new()));
        let (tools, read, write, network) = match self {
            Preset::Minimal => (tools(&[]), nothing(), nothing(), NetworkAccess::None),
            Preset::ReadOnly => (tools(&[reading]), here(), nothing(), NetworkAccess::None),
            Preset::Workspace => (tools(&[working]), here(), here(), NetworkAccess::None),
            Preset::Network => (tools(&[working, everywhere]), here(), here(), NetworkAccess::Full),
            Preset::Trusted => (Some(Scope::All), Some(Scope::All), Some(Scope::All), NetworkAccess::Full),
        };
        Request { tools, read, write, network: Some(network), ..Request::default() }
    }
}
