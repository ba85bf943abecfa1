//! The MCP servers that a run may use, as its executor wants to know them. It does not know the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use raddle_engine::attempt::Confinement;
use raddle_engine::grants::server_confinement;
use raddle_executors::mcp::Elicitation;
use raddle_executors::{Reach, ServerAddress, ServerCommand, ServerSettings};
use raddle_model::mcp_server::{self, McpReach, McpServer};
use raddle_model::workflow::{TaskKind, Workflow};

use crate::exit::Exit;
use crate::problem::Problem;
use crate::project::header_value;

/// The servers that tasks of this workflow may use; no other gets near the run.
pub(super) fn settings(workflow: &Workflow, base: &Path) -> Result<BTreeMap<String, ServerSettings>, Problem> {
    let named: BTreeSet<&str> = workflow
        .tasks
        .iter()
        .filter_map(|task| match &task.kind {
            TaskKind::Tool(tool) => Some(tool.server.as_str()),
            TaskKind::Agent(agent) => agent.tool.as_ref().map(|tool| tool.server.as_str()),
            _ => None,
        })
        .collect();
    // Code may be granted tools of any server, and asks for them while it runs.
    let by_code = workflow.tasks.iter().any(|task| matches!(task.kind, TaskKind::Code(_)));
    let confinement =
        server_confinement(workflow, base).map_err(|failure| Problem::new(Exit::Refused, failure.message))?;
    let mut settings = BTreeMap::new();
    for (name, server) in &workflow.mcp_servers {
        match setting(name, server, base, &confinement) {
            Ok(setting) if by_code || named.contains(name.as_str()) => {
                settings.insert(name.clone(), setting);
            }
            Err(problem) if named.contains(name.as_str()) => return Err(problem),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(settings)
}

fn setting(
    name: &str,
    server: &McpServer,
    base: &Path,
    confinement: &Option<Arc<Confinement>>,
) -> Result<ServerSettings, Problem> {
    let reach = match &server.reach {
        McpReach::Command { command, args, env, cwd } => Reach::Command(ServerCommand {
            argv: std::iter::once(command).chain(args).cloned().collect(),
            env: env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            cwd: cwd.as_ref().map_or_else(|| base.to_owned(), |cwd| base.join(cwd)),
            confinement: confinement.clone(),
        }),
        McpReach::Url { url, headers } => {
            let filled = headers.iter().map(|(header, value)| match header_value(value) {
                Ok(value) => Ok((header.clone(), value)),
                Err(why) => Err(Problem::usage(format!("the header {header} of the MCP server {name}: {why}"))
                    .hint("a header's value may hold ${NAME} and ${NAME:-default} from the environment")),
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
