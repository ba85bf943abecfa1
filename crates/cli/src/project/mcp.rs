//! The servers of the nearest `.mcp.json`. It does not know MCP; it reads the file as the agent CLIs do, including
//! their `${NAME}` and `${NAME:-default}` in values, which are replaced once and never looked at again.

use std::collections::BTreeMap;
use std::path::Path;

use raddle_model::workflow::McpServer;
use serde::Deserialize;

use crate::source::read_bounded;

const FILE_LIMIT: u64 = 1 << 20;

#[derive(Deserialize)]
struct File {
    #[serde(default, rename = "mcpServers")]
    servers: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Server {
    #[serde(rename = "type")]
    kind: Option<String>,
    command: Option<String>,
    url: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<String>,
}

/// The stdio servers by name; what is left out is told in `notes`.
pub fn servers(base_dir: &Path, notes: &mut Vec<String>) -> BTreeMap<String, McpServer> {
    let mut servers = BTreeMap::new();
    let Some(path) = base_dir.ancestors().map(|a| a.join(".mcp.json")).find(|path| path.is_file()) else {
        return servers;
    };
    let file = read_bounded(&path, FILE_LIMIT)
        .and_then(|bytes| serde_json::from_slice::<File>(&bytes).map_err(|e| e.to_string()));
    match file {
        Ok(file) => {
            for (name, value) in file.servers {
                match server(value, &path, &|name| std::env::var(name).ok()) {
                    Ok(server) => {
                        servers.insert(name, server);
                    }
                    Err(reason) => notes.push(format!("MCP server {name} of {} is left out: {reason}", path.display())),
                }
            }
        }
        Err(reason) => notes.push(format!("{} is left out: {reason}", path.display())),
    }
    servers
}

fn server(
    value: serde_json::Value,
    file: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<McpServer, String> {
    let server: Server = serde_json::from_value(value).map_err(|e| e.to_string())?;
    if server.url.is_some() || server.kind.as_deref().is_some_and(|kind| kind != "stdio") {
        return Err("servers behind a URL are not built yet".to_owned());
    }
    let fill = |text: &str| filled(text, variable);
    // Relative to the file, as a person who reads it would expect, wherever the workflow lies.
    let folder = file.parent().unwrap_or(Path::new("/"));
    let cwd = server.cwd.as_deref().map_or_else(|| folder.to_owned(), |cwd| folder.join(cwd));
    Ok(McpServer {
        command: fill(&server.command.ok_or("it has no `command`")?)?,
        args: server.args.iter().map(|arg| fill(arg)).collect::<Result<_, _>>()?,
        env: server.env.iter().map(|(k, v)| Ok((k.clone(), fill(v)?))).collect::<Result<_, String>>()?,
        cwd: Some(cwd.display().to_string()),
    })
}

/// Replaces `${NAME}` and `${NAME:-default}`; a name without value or default is an error.
fn filled(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let Some(end) = rest[at..].find('}') else { break };
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..at + end];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (inside, None),
        };
        out.push_str(&variable(name).or(default).ok_or_else(|| format!("environment variable {name} is not set"))?);
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_once() {
        let variable = |name: &str| (name == "TOKEN").then(|| "${HOME}".to_owned());
        assert_eq!(filled("a ${TOKEN} ${NONE:-b} ${", &variable), Ok("a ${HOME} b ${".to_owned()));
        assert!(filled("${NONE}", &variable).is_err());
    }

    #[test]
    fn url_servers_are_told_not_dropped() {
        let told = server(serde_json::json!({"url": "http://x"}), Path::new("/p/.mcp.json"), &|_| None);
        assert!(told.is_err_and(|reason| reason.contains("not built yet")));
    }
}
