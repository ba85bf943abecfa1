//! A folder, a bare environment and the real binary in them. It does not know what any test is about.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A place where nothing of the machine's own configuration is seen.
pub struct Place {
    root: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// How a command ended.
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Place {
        let root = tempfile::tempdir().expect("a temporary folder can be made");
        for folder in ["work", "home", "config/raddle", "bin"] {
            fs::create_dir_all(root.path().join(folder)).expect("a folder can be made");
        }
        Place { root, variables: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file below the working folder (or beside it, with `../`).
    pub fn file(&self, name: &str, text: &str) -> &Place {
        let path = self.path("work").join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder can be made");
        fs::write(path, text).expect("a file can be written");
        self
    }

    pub fn variable(&mut self, name: &str, value: &str) -> &mut Place {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_raddle"));
        command
            .args(words)
            .current_dir(self.path("work"))
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("RADDLE_HOME", self.path("state"))
            .env("TZ", "UTC")
            .envs(self.variables.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn raddle(&self, words: &[&str]) -> Ended {
        self.ended(self.command(words).output().expect("the binary can be started"))
    }

    pub fn raddle_with_stdin(&self, words: &[&str], text: &str) -> Ended {
        let mut child = self.command(words).stdin(Stdio::piped()).spawn().expect("the binary can be started");
        let mut stdin = child.stdin.take().expect("stdin was asked for as a pipe");
        stdin.write_all(text.as_bytes()).expect("the command reads its stdin");
        drop(stdin);
        self.ended(child.wait_with_output().expect("the command ends"))
    }

    fn ended(&self, output: Output) -> Ended {
        let clean = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .expect("output is UTF-8")
                .replace(&self.root.path().display().to_string(), "@ROOT@")
        };
        let ended = Ended { code: output.status.code(), out: clean(output.stdout), err: clean(output.stderr) };
        assert!(!ended.err.contains("panicked at"), "{}", ended.err);
        ended
    }
}

impl Ended {
    #[track_caller]
    pub fn exits(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("stdout is no JSON document ({e}): {}", self.out))
    }
}
