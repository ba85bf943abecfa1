//! The MCP servers that a run may use, as its executor wants to know them. It does not know the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use raddle_engine::attempt::Confinement;
use raddle_engine::grants::{code_tools, server_confinement};
use raddle_engine::secrets::Secrets;
use raddle_executors::mcp::Elicitation;
use raddle_executors::{Reach, ServerAddress, ServerCommand, ServerSettings};
use raddle_model::mcp_server::{self, McpReach, McpServer};
use raddle_model::secret;
use raddle_model::workflow::{TaskKind, Workflow};

use crate::exit::Exit;
use crate::problem::Problem;
use crate::project::header_value;

/// The servers that tasks of this workflow may use; no other gets near the run.
pub(super) fn settings(
    workflow: &Workflow,
    base: &Path,
    secrets: &Secrets,
) -> Result<BTreeMap<String, ServerSettings>, Problem> {
    let named = named(workflow);
    // Code may be granted tools of any server, and asks for them while it runs.
    let by_code = workflow.tasks.iter().any(|task| matches!(task.kind, TaskKind::Code(_)));
    let confinement =
        server_confinement(workflow, base).map_err(|failure| Problem::new(Exit::Refused, failure.message))?;
    let mut settings = BTreeMap::new();
    for (name, server) in &workflow.mcp_servers {
        match setting(name, server, base, &confinement, secrets) {
            Ok(setting) if by_code || named.contains(name.as_str()) => {
                settings.insert(name.clone(), setting);
            }
            Err(problem) if named.contains(name.as_str()) => return Err(problem),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(settings)
}

/// The servers that tasks name: as theirs, or of tools that their code may see.
fn named(workflow: &Workflow) -> BTreeSet<&str> {
    let mut named: BTreeSet<&str> = workflow
        .tasks
        .iter()
        .filter_map(|task| match &task.kind {
            TaskKind::Tool(tool) => Some(tool.server.as_str()),
            TaskKind::Agent(agent) => agent.tool.as_ref().map(|tool| tool.server.as_str()),
            _ => None,
        })
        .collect();
    for task in &workflow.tasks {
        let TaskKind::Agent(agent) = &task.kind else { continue };
        let tools = agent.tools.iter().flatten().filter_map(|tool| tool.strip_prefix("mcp__"));
        let servers = workflow.mcp_servers.keys().map(String::as_str);
        let is_of = |server: &str, tool: &str| {
            tool.strip_prefix(server).is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
        };
        named.extend(servers.filter(|server| tools.clone().any(|tool| is_of(server, tool))));
    }
    for task in &workflow.tasks {
        let TaskKind::Code(code) = &task.kind else { continue };
        let Some(tools) = code_tools(task, code.intent.as_deref(), String::new) else { continue };
        // With nothing granted the tools of all servers are listed for its intent.
        let sees = |server: &&str| match &tools.granted {
            None => true,
            Some(granted) => granted.iter().filter_map(|tool| tool.split_once(':')).any(|(of, _)| of == *server),
        };
        named.extend(workflow.mcp_servers.keys().map(String::as_str).filter(sees));
    }
    named
}

/// The secrets of the servers that tasks name; those of others stay where they are.
pub(super) fn secrets(workflow: &Workflow) -> Vec<&str> {
    let named = named(workflow);
    let used = workflow.mcp_servers.iter().filter(|(name, _)| named.contains(name.as_str()));
    let values = used.flat_map(|(_, server)| match &server.reach {
        McpReach::Command { env, .. } => env.values(),
        McpReach::Url { headers, .. } => headers.values(),
    });
    values.flat_map(|value| secret::names(value)).collect()
}

fn setting(
    name: &str,
    server: &McpServer,
    base: &Path,
    confinement: &Option<Arc<Confinement>>,
    secrets: &Secrets,
) -> Result<ServerSettings, Problem> {
    let reach = match &server.reach {
        McpReach::Command { command, args, env, cwd } => Reach::Command(ServerCommand {
            argv: std::iter::once(command).chain(args).cloned().collect(),
            env: env
                .iter()
                .map(|(variable, value)| match secrets.filled(value) {
                    Ok(value) => Ok((variable.clone(), value)),
                    Err(missing) => {
                        Err(Problem::usage(format!("`env` of the MCP server {name}: no secret is called {missing}"))
                            .hint(format!("declare it by `[secrets.{missing}]` in raddle.toml")))
                    }
                })
                .collect::<Result<_, _>>()?,
            cwd: cwd.as_ref().map_or_else(|| base.to_owned(), |cwd| base.join(cwd)),
            confinement: confinement.clone(),
        }),
        McpReach::Url { url, headers } => {
            let filled = headers.iter().map(|(header, value)| match header_value(value, secrets) {
                Ok(value) => Ok((header.clone(), value)),
                Err(why) => Err(Problem::usage(format!("the header {header} of the MCP server {name}: {why}")).hint(
                    "a header's value may hold ${secret:NAME}, and ${NAME} and ${NAME:-default} from the environment",
                )),
            });
            Reach::Address(ServerAddress { url: url.clone(), headers: filled.collect::<Result<_, _>>()? })
        }
    };
    let elicitation = match server.elicitation {
        mcp_server::Elicitation::Decline => Elicitation::Decline,
        mcp_server::Elicitation::Defaults => Elicitation::Defaults,
    };
    Ok(ServerSettings { reach, max_concurrent: server.max_concurrent, elicitation })
}
