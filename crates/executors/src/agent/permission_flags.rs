//! What agent CLIs themselves can be told of a task's permissions. It is the second wall: the operating system's is
//! the first where files are limited, but only the CLI can tell its agent why something is refused.

use raddle_engine::attempt::Confinement;

use super::adapter::{Adapter, Family};

/// Characters that mean something in the CLI's own rules; patterns with one of them are left to the first wall.
const SPECIAL: [char; 6] = ['(', ')', ',', '?', '[', '!'];

impl Adapter {
    /// How it is told which tools its agent may use, or why it cannot be told.
    pub fn tells_tools(&self) -> Result<String, String> {
        match (self.family(), self.tools_flag()) {
            (Family::Claude, _) => Ok(format!("flags of {} (--tools, --allowedTools)", self.name())),
            (Family::Plain, Some(flag)) => Ok(format!("flag {flag} of {}", self.name())),
            (Family::Plain, None) => Err(format!(
                "agent CLI {0} has no `tools_flag` in `[clis.{0}]`, so nothing limits its tools",
                self.name()
            )),
            _ => Err(format!("agent CLI {} cannot be told which tools it may use", self.name())),
        }
    }

    /// Whether it is told of files that are denied, beside the operating system.
    pub fn tells_denies(&self) -> bool {
        self.family() == Family::Claude
    }

    /// Arguments that tell the CLI of files that its tools may not touch. `Edit` rules hold for all tools that write;
    /// two slashes begin an absolute path.
    pub fn permission_flags(&self, confinement: Option<&Confinement>) -> Vec<String> {
        let Some(confinement) = confinement.filter(|_| self.tells_denies()) else { return Vec::new() };
        let mut rules: Vec<String> = Vec::new();
        if confinement.write.as_ref().is_some_and(Vec::is_empty) {
            rules.extend(["Edit", "Write", "NotebookEdit"].map(str::to_owned));
        }
        if confinement.read.as_ref().is_some_and(Vec::is_empty) {
            rules.extend(["Read", "Grep", "Glob"].map(str::to_owned));
        }
        for path in confinement.deny.iter().filter(|path| !path.contains(SPECIAL)) {
            rules.extend([format!("Read(/{path})"), format!("Edit(/{path})")]);
        }
        if !rules.is_empty() {
            rules.insert(0, "--disallowedTools".to_owned());
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::super::Adapters;
    use super::*;

    #[test]
    fn denies_reach_the_cli_that_understands_them() {
        let adapters = Adapters::new(&Default::default()).expect("the built-in ones");
        let confinement = Confinement {
            write: Some(Vec::new()),
            deny: vec!["/w/secrets/**".into(), "/w/a(b)".into()],
            ..Confinement::default()
        };
        let claude = adapters.get("claude").expect("built in");
        let flags = claude.permission_flags(Some(&confinement)).join(" ");
        assert_eq!(flags, "--disallowedTools Edit Write NotebookEdit Read(//w/secrets/**) Edit(//w/secrets/**)");
        assert!(claude.permission_flags(None).is_empty() && claude.tells_tools().is_ok());
        let codex = adapters.get("codex").expect("built in");
        assert!(codex.permission_flags(Some(&confinement)).is_empty() && codex.tells_tools().is_err());
    }
}
