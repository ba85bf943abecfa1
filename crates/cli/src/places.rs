//! Where this program keeps and finds its files. It does not know what is in them.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::problem::Problem;

/// The folder of all runs: `$RADDLE_HOME`, else `$XDG_STATE_HOME/raddle`, else `~/.local/state/raddle`. Not created.
pub fn state_folder() -> Result<PathBuf, Problem> {
    if let Some(home) = variable("RADDLE_HOME") {
        return absolute(PathBuf::from(home));
    }
    xdg("XDG_STATE_HOME", ".local/state").map(|folder| folder.join("raddle")).ok_or_else(|| {
        Problem::usage("no place for runs: none of RADDLE_HOME, XDG_STATE_HOME and HOME is set")
            .hint("set RADDLE_HOME to a folder")
    })
}

/// The user's configuration file, whether it exists or not; `None` when there is no home.
pub fn user_configuration() -> Option<PathBuf> {
    xdg("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("raddle/config.toml"))
}

// A relative XDG path is invalid by its specification and must be ignored.
fn xdg(name: &str, below_home: &str) -> Option<PathBuf> {
    let given = variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    given
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(below_home)).filter(|path| path.is_absolute()))
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn absolute(path: PathBuf) -> Result<PathBuf, Problem> {
    std::path::absolute(&path).map_err(|e| Problem::io(format!("find {}", path.display()), &e))
}
