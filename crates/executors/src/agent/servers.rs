//! MCP servers for an agent CLI: those of which its task was granted a tool, told in the CLI's own way. The CLI starts
//! them itself, so they are held to what it is held to. It does not know who made the grant, nor starts anything.

use std::collections::BTreeMap;
use std::path::Path;

use raddle_engine::FailureClass;
use raddle_engine::attempt::Failure;
use raddle_engine::secrets::Secrets;
use serde_json::{Map, Value, json};

use super::adapter::{Adapter, Family};
use super::{AgentCommand, AttachedFile, Slot};
use crate::provisions::refuse_open_secrets;
use crate::servers::{Reach, ServerSettings};

/// How tools of servers begin in the notation of agent CLIs.
const TOOL_OF_SERVER: &str = "mcp__";

/// The servers whose tools are in that list, of all that the run has: `mcp__server` or `mcp__server__tool`. Where a name
/// could be split in two ways, the longest server is meant. A server that the run does not have is nobody's: what a
/// workflow names was judged when it was read, and an agent's definition may name what other places have.
pub(crate) fn granted<'a>(
    tools: Option<&[String]>,
    all: &'a BTreeMap<String, ServerSettings>,
) -> BTreeMap<&'a str, &'a ServerSettings> {
    let names = tools.unwrap_or_default().iter().filter_map(|tool| tool.strip_prefix(TOOL_OF_SERVER));
    let meant = names.filter_map(|name| {
        let is_meant =
            |server: &str| name.strip_prefix(server).is_some_and(|rest| rest.is_empty() || rest.starts_with("__"));
        all.iter().filter(|(server, _)| is_meant(server)).max_by_key(|(server, _)| server.len())
    });
    meant.map(|(server, settings)| (server.as_str(), settings)).collect()
}

impl Adapter {
    /// Gives the CLI these servers and no others. What they are told in secret is in a file, since everybody on the
    /// machine can read arguments.
    pub(crate) fn give_servers(
        &self,
        command: &mut AgentCommand,
        granted: &BTreeMap<&str, &ServerSettings>,
        cwd: &Path,
        secrets: &Secrets,
    ) -> Result<(), Failure> {
        if granted.is_empty() {
            return Ok(());
        }
        for (name, settings) in granted {
            let Reach::Command(server) = &settings.reach else { continue };
            let folder = server.cwd.to_string_lossy();
            // The CLI makes arguments of these.
            refuse_open_secrets(server.argv.iter().map(String::as_str).chain([&*folder]), secrets)
                .map_err(|failure| Failure::new(failure.class, format!("MCP server {name:?}: {}", failure.message)))?;
        }
        if self.family() != Family::Claude {
            let told = format!("agent CLI {} cannot be given MCP servers of a task's own; use `claude`", self.name());
            return Err(Failure::new(FailureClass::Permission, told));
        }
        let servers: Map<String, Value> =
            granted.iter().map(|(name, settings)| ((*name).to_owned(), described(settings, cwd))).collect();
        let bytes = json!({"mcpServers": servers}).to_string().into_bytes();
        command.argv.extend(["--mcp-config", "", "--strict-mcp-config"].map(str::to_owned));
        let place = Slot::Argument(command.argv.len() - 2);
        command.files.push(AttachedFile { place, suffix: ".mcp.json", bytes, is_kept: true });
        Ok(())
    }
}

/// A server as `.mcp.json` has it. There is no key for its folder, so a shell goes there first; nothing of the command
/// is read by that shell.
fn described(settings: &ServerSettings, cwd: &Path) -> Value {
    match &settings.reach {
        Reach::Command(server) if server.cwd == cwd => {
            json!({"command": server.argv.first(), "args": server.argv.get(1..), "env": env(&server.env)})
        }
        Reach::Command(server) => {
            let folder = server.cwd.to_string_lossy();
            let words =
                ["-c", r#"cd -- "$0" && exec "$@""#, &folder].into_iter().chain(server.argv.iter().map(String::as_str));
            json!({"command": "/bin/sh", "args": words.collect::<Vec<_>>(), "env": env(&server.env)})
        }
        Reach::Address(server) => json!({"type": "http", "url": server.url, "headers": env(&server.headers)}),
    }
}

fn env<'a>(pairs: impl IntoIterator<Item = &'a (String, String)>) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Adapters;
    use super::*;
    use crate::servers::ServerCommand;

    fn server(program: &str) -> ServerSettings {
        ServerSettings::from(Reach::Command(ServerCommand {
            argv: vec![program.into(), "-x".into()],
            env: vec![("KEY".into(), "s3cret-value".into())],
            cwd: "/w".into(),
            confinement: None,
        }))
    }

    fn secrets(value: &str) -> Secrets {
        Secrets::new([("KEY".to_owned(), value.to_owned())].into())
    }

    #[test]
    fn only_servers_of_granted_tools_are_given_and_secrets_are_in_no_argument() {
        let all: BTreeMap<String, ServerSettings> =
            ["a", "a__b", "other"].map(|name| (name.to_owned(), server(name))).into();
        let tools = ["mcp__a__b__c".to_owned(), "mcp__a".to_owned(), "Bash".to_owned()];
        let given = granted(Some(&tools), &all);
        assert_eq!(given.keys().copied().collect::<Vec<_>>(), ["a", "a__b"]);
        assert!(granted(None, &all).is_empty() && granted(Some(&["mcp__no__x".to_owned()]), &all).is_empty());

        let adapters = Adapters::new(&Default::default()).unwrap();
        let mut command = AgentCommand { argv: vec!["claude".into()], ..AgentCommand::default() };
        adapters
            .get("claude")
            .unwrap()
            .give_servers(&mut command, &given, Path::new("/w"), &secrets("s3cret-value"))
            .unwrap();
        assert_eq!(command.argv, ["claude", "--mcp-config", "", "--strict-mcp-config"]);
        let [file] = &command.files[..] else { panic!("one file") };
        assert_eq!(file.place, Slot::Argument(2));
        let text: Value = serde_json::from_slice(&file.bytes).unwrap();
        assert_eq!(text["mcpServers"]["a"], json!({"command": "a", "args": ["-x"], "env": {"KEY": "s3cret-value"}}));
        assert_eq!(text["mcpServers"].as_object().unwrap().len(), 2);
        let codex =
            adapters.get("codex").unwrap().give_servers(&mut command, &given, Path::new("/w"), &Secrets::default());
        assert_eq!(codex.unwrap_err().class, FailureClass::Permission);
    }

    #[test]
    fn a_server_with_a_secret_among_its_arguments_is_not_given() {
        let all: BTreeMap<String, ServerSettings> = [("a".to_owned(), server("--key=s3cret-value"))].into();
        let given = granted(Some(&["mcp__a".to_owned()]), &all);
        let adapters = Adapters::new(&Default::default()).unwrap();
        let mut command = AgentCommand { argv: vec!["claude".into()], ..AgentCommand::default() };
        let claude = adapters.get("claude").unwrap();
        let failure = claude.give_servers(&mut command, &given, Path::new("/w"), &secrets("s3cret-value")).unwrap_err();
        assert_eq!(failure.class, FailureClass::Permission);
        assert!(failure.message.contains("the secret KEY would be an argument"), "{}", failure.message);
        assert!(!failure.message.contains("s3cret-value") && command.files.is_empty());
    }
}
