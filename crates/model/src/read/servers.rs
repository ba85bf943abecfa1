//! Reads `mcp_servers:`. It does not know the tasks that use them.

use std::collections::BTreeMap;

use super::fields;
use super::header::Header;
use crate::diagnostic::{Sink, quoted};
use crate::keys;
use crate::mcp_server::{AgentTool, Elicitation, McpReach, McpServer, check_url};
use crate::syntax::{Entry, Node};

/// `type:`.
#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Stdio,
    Http,
}

pub(super) fn servers(node: &Node<'_>, header: &mut Header, sink: &mut Sink<'_>) {
    for entry in fields::map("mcp_servers", node, sink).unwrap_or_default() {
        let name = entry.key.to_string();
        if name.is_empty() || name.contains(':') {
            sink.error("bad-id", entry.key_span, format!("{} is no name of a server", quoted(&name)))
                .help("the name ends at the first `:` of a tool's name");
        }
        match server(entry, sink) {
            Some(server) => {
                header.servers.insert(name, server);
            }
            None => header.faulty_servers.push(name),
        }
    }
}

fn server(entry: &Entry<'_>, sink: &mut Sink<'_>) -> Option<McpServer> {
    let before = sink.errors();
    let (mut command, mut url, mut transport) = (None, None, None);
    let (mut args, mut env, mut cwd, mut headers) = (Vec::new(), BTreeMap::new(), None, BTreeMap::new());
    let (mut max_concurrent, mut elicitation) = (None, Elicitation::default());
    // Keys that go with one way of reaching it only.
    let (mut of_commands, mut of_urls) = (None, None);
    for field in fields::map(&entry.key, &entry.value, sink)? {
        let (key, node) = (&*field.key, &field.value);
        match key {
            "args" | "env" | "cwd" => of_commands = of_commands.or(Some(field)),
            "headers" => of_urls = of_urls.or(Some(field)),
            _ => {}
        }
        match key {
            "command" => command = fields::plain_text(key, node, sink),
            "args" => {
                let items = fields::list(key, node, sink).unwrap_or_default();
                args = items.iter().filter_map(|i| fields::scalar_text(key, i, sink)).map(Into::into).collect();
            }
            "env" => {
                for variable in fields::map(key, node, sink).unwrap_or_default() {
                    let value = fields::scalar_text(&variable.key, &variable.value, sink);
                    if let (true, Some(value)) = (fields::variable_name(variable, sink), value) {
                        env.insert(variable.key.to_string(), value.into_owned());
                    }
                }
            }
            "cwd" => cwd = fields::plain_text(key, node, sink).map(str::to_owned),
            "url" => {
                url = fields::plain_text(key, node, sink);
                if let Some(Err(why)) = url.map(check_url) {
                    sink.error("bad-value", node.span, format!("no server can be behind this `url`: {why}"));
                }
            }
            "headers" => {
                for header in fields::map(key, node, sink).unwrap_or_default() {
                    let value = fields::scalar_text(&header.key, &header.value, sink);
                    if let (true, Some(value)) = (header_name(header, sink), value) {
                        headers.insert(header.key.to_string(), value.into_owned());
                    }
                }
            }
            "type" => {
                let words =
                    [("stdio", Transport::Stdio), ("http", Transport::Http), ("streamable-http", Transport::Http)];
                transport = fields::choice(key, node, &words, sink);
            }
            "max_concurrent" => {
                max_concurrent = fields::integer(key, node, (1, 1000), sink).map(|n| n as u32);
            }
            "elicitation" => {
                let words = [("decline", Elicitation::Decline), ("defaults", Elicitation::Defaults)];
                elicitation = fields::choice(key, node, &words, sink).unwrap_or_default();
            }
            _ => keys::unknown(field, "an MCP server", &[keys::MCP_SERVER], sink),
        }
    }
    if sink.errors() != before {
        return None;
    }
    let name = quoted(&entry.key);
    let reach = match (command, url) {
        (Some(_), Some(_)) => Err(format!("the server {name} has a `command` and a `url`: is it started or reached?")),
        (None, None) => Err(format!("the server {name} has no `command` and no `url`")),
        (Some(_), None) if transport == Some(Transport::Http) => Err(format!("the server {name} has no `url`")),
        (None, Some(_)) if transport == Some(Transport::Stdio) => Err(format!("the server {name} has no `command`")),
        (Some(command), None) => Ok(McpReach::Command { command: command.to_owned(), args, env, cwd }),
        (None, Some(url)) => Ok(McpReach::Url { url: url.to_owned(), headers }),
    };
    let stray = match &reach {
        Ok(McpReach::Command { .. }) => of_urls,
        Ok(McpReach::Url { .. }) => of_commands,
        Err(_) => None,
    };
    if let Some(field) = stray {
        sink.error("bad-value", field.key_span, format!("`{}` has no meaning for the server {name}", field.key))
            .help("`args`, `env` and `cwd` go with `command`, `headers` with `url`");
        return None;
    }
    match reach {
        Ok(reach) => Some(McpServer { reach, max_concurrent, elicitation }),
        Err(what) => {
            sink.error("missing-key", entry.key_span, what);
            None
        }
    }
}

/// `mcp:` of an agent's definition.
pub(super) fn agent_tool(entry: &Entry<'_>, sink: &mut Sink<'_>) -> Option<AgentTool> {
    let (mut named, mut prompt, mut arguments) = (None, "prompt".to_owned(), serde_json::Map::new());
    let before = sink.errors();
    for field in fields::map(&entry.key, &entry.value, sink)? {
        let (key, node) = (&*field.key, &field.value);
        match key {
            "tool" => {
                let name = fields::plain_text(key, node, sink)?;
                named = name.split_once(':').filter(|(server, tool)| !server.is_empty() && !tool.is_empty());
                if named.is_none() {
                    sink.error("bad-tool-name", node.span, format!("{} is no name of a tool", quoted(name)))
                        .help("write it as server:tool_name");
                }
            }
            "prompt" => prompt = fields::plain_text(key, node, sink)?.to_owned(),
            "arguments" => {
                fields::map(key, node, sink)?;
                if let serde_json::Value::Object(given) = node.to_json() {
                    arguments = given;
                }
            }
            _ => keys::unknown(field, "`mcp` of an agent", &[keys::AGENT_TOOL], sink),
        }
    }
    if named.is_none() && sink.errors() == before {
        sink.error("missing-key", entry.key_span, "`mcp` of an agent does not say which `tool` does its work");
    }
    if arguments.contains_key(&prompt) {
        sink.error("bad-value", entry.key_span, format!("the argument {} is the prompt's", quoted(&prompt)))
            .help("say under `prompt:` which argument gets the prompt");
    }
    let (server, tool) = named.filter(|_| sink.errors() == before)?;
    Some(AgentTool { server: server.to_owned(), tool: tool.to_owned(), prompt, arguments })
}

/// Names that HTTP or the protocol itself fills in.
const OURS: [&str; 10] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "accept",
    "mcp-session-id",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
];

fn header_name(header: &Entry<'_>, sink: &mut Sink<'_>) -> bool {
    let name = &*header.key;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let wrong = if name.is_empty() || !name.bytes().all(is_token) {
        "is no name of a header"
    } else if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        "is filled in by the protocol"
    } else {
        return true;
    };
    sink.error("bad-value", header.key_span, format!("{} {wrong}", quoted(name)));
    false
}
