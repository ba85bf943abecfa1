//! The servers of the nearest `.mcp.json`. It does not know MCP; it reads the file as the agent CLIs do, including
//! their `${NAME}` and `${NAME:-default}` in values, which are replaced once and never looked at again.

use std::collections::BTreeMap;
use std::path::Path;

use raddle_engine::secrets::Secrets;
use raddle_model::mcp_server::{Elicitation, McpReach, McpServer, check_url};
use raddle_model::secret::{self, Part};
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
    #[serde(default)]
    headers: BTreeMap<String, String>,
    max_concurrent: Option<u32>,
    elicitation: Option<String>,
}

/// The servers by name; what is left out is told in `notes`.
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
    let elicitation = match server.elicitation.as_deref() {
        None | Some("decline") => Elicitation::Decline,
        Some("defaults") => Elicitation::Defaults,
        Some(other) => return Err(format!("`elicitation` is `decline` or `defaults`, not {other:?}")),
    };
    if server.max_concurrent.is_some_and(|n| !(1..=1000).contains(&n)) {
        return Err("`max_concurrent` is a number from 1 to 1000".to_owned());
    }
    let fill = |text: &str| filled(text, variable);
    let reach = match (server.kind.as_deref(), &server.command, &server.url) {
        (_, Some(_), Some(_)) => return Err("it has a `command` and a `url`".to_owned()),
        (None | Some("http" | "streamable-http"), None, Some(url)) => {
            let url = fill(url)?;
            check_url(&url)?;
            // Filled in when the server is used; that they can be is looked at here.
            server.headers.values().try_for_each(|value| parts(value, variable).map(drop))?;
            McpReach::Url { url, headers: server.headers }
        }
        (None | Some("stdio"), Some(command), None) => {
            // Relative to the file, as a person who reads it would expect, wherever the workflow lies.
            let folder = file.parent().unwrap_or(Path::new("/"));
            let cwd = server.cwd.as_deref().map_or_else(|| folder.to_owned(), |cwd| folder.join(cwd));
            McpReach::Command {
                command: fill(command)?,
                args: server.args.iter().map(|arg| fill(arg)).collect::<Result<_, _>>()?,
                env: server
                    .env
                    .iter()
                    .map(|(name, value)| Ok((name.clone(), written(parts(value, variable)?))))
                    .collect::<Result<_, String>>()?,
                cwd: Some(cwd.display().to_string()),
            }
        }
        (None | Some("stdio"), None, _) => return Err("it has no `command`".to_owned()),
        (Some("http" | "streamable-http"), _, None) => return Err("it has no `url`".to_owned()),
        (Some(other), ..) => {
            return Err(format!("servers of the type {other:?} are not supported; `stdio` and `http` are"));
        }
    };
    Ok(McpServer { reach, max_concurrent: server.max_concurrent, elicitation })
}

/// What a header's value stands for: `${secret:NAME}`, `${NAME}` and `${NAME:-default}` are replaced, once. Errors never
/// hold values.
pub fn header_value(text: &str, secrets: &Secrets) -> Result<String, String> {
    let mut value = String::new();
    for part in parts(text, &|name| std::env::var(name).ok())? {
        match part {
            Piece::Plain(text) => value.push_str(&text),
            Piece::Secret(name) => value.push_str(secrets.value(name).ok_or_else(|| undeclared(name))?),
        }
    }
    if value.bytes().any(|byte| byte != b'\t' && !(0x20..0x7f).contains(&byte)) {
        return Err("its value holds a character that no header can carry (a line's end?)".to_owned());
    }
    Ok(value)
}

/// What a secret without a value is told as.
fn undeclared(name: &str) -> String {
    format!("the secret {name} is not there; declare it by `[secrets.{name}]` in raddle.toml")
}

/// A part of a value in which variables are replaced already.
enum Piece<'t> {
    Plain(String),
    Secret(&'t str),
}

fn parts<'t>(text: &'t str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Piece<'t>>, String> {
    let piece = |part: Part<'t>| match part {
        Part::Secret(name) => Ok(Piece::Secret(name)),
        // An escaped reference is text, not a variable.
        Part::Text(text) if secret::names(text).next().is_some() => Ok(Piece::Plain(text.to_owned())),
        Part::Text(text) => filled(text, variable).map(Piece::Plain),
    };
    secret::parts(text).into_iter().map(piece).collect()
}

/// The same as a text in which only secrets are left to be replaced: what came from a variable names none.
fn written(parts: Vec<Piece<'_>>) -> String {
    let text = |part| match part {
        Piece::Plain(text) => secret::escaped(&text),
        Piece::Secret(name) => format!("${{secret:{name}}}"),
    };
    parts.into_iter().map(text).collect()
}

/// Replaces `${NAME}` and `${NAME:-default}`; a name without value or default is an error.
fn filled(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let Some(end) = rest[at..].find('}') else { break };
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..at + end];
        if secret::names(&rest[at..=at + end]).next().is_some() {
            return Err("a secret may stand in `env` and `headers` only; everything else is shown".to_owned());
        }
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
        let left = |text: &str| written(parts(text, &|_| Some("${secret:B}".to_owned())).expect("it is sound"));
        assert_eq!(left("a ${secret:A} ${X} $${secret:C}"), "a ${secret:A} $${secret:B} $${secret:C}");
    }

    #[test]
    fn servers_are_started_or_reached_and_the_rest_is_told() {
        let read = |json: serde_json::Value| server(json, Path::new("/p/.mcp.json"), &|_| None);
        let there = read(serde_json::json!({"type": "http", "url": "http://localhost:1/mcp", "headers": {"A": "b"}}));
        assert!(there.is_ok_and(|s| matches!(&s.reach, McpReach::Url { headers, .. } if headers["A"] == "b")));
        let started = read(serde_json::json!({"command": "x", "cwd": "sub"}));
        assert!(started.is_ok_and(|s| matches!(s.reach, McpReach::Command { cwd: Some(cwd), .. } if cwd == "/p/sub")));
        for (json, why) in [
            (serde_json::json!({"url": "http://example.com/"}), "https"),
            (serde_json::json!({"type": "sse", "url": "https://example.com/"}), "sse"),
            (serde_json::json!({"type": "http", "command": "x"}), "no `url`"),
            (serde_json::json!({"url": "https://e.com", "headers": {"A": "${TOKEN}"}}), "TOKEN is not set"),
            (serde_json::json!({}), "no `command`"),
            (serde_json::json!({"command": "x", "args": ["${secret:A}"]}), "`env` and `headers` only"),
        ] {
            assert!(read(json.clone()).is_err_and(|told| told.contains(why)), "{json}");
        }
    }
}
