//! An MCP server as workflows and `.mcp.json` describe it, and which addresses may be written for one. It does not know
//! the protocol, nor whether anything answers there.

use std::collections::BTreeMap;

/// An MCP server of `mcp_servers:` or `.mcp.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct McpServer {
    /// How it is reached.
    pub reach: McpReach,
    /// Calls at a time; `None` is no limit.
    pub max_concurrent: Option<u32>,
    /// What it is told when it asks the user something.
    pub elicitation: Elicitation,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum McpReach {
    /// It is started, and speaks over its stdin and stdout.
    Command {
        /// The program.
        command: String,
        /// Arguments after the program.
        args: Vec<String>,
        /// Extra environment of the server; values as written.
        env: BTreeMap<String, String>,
        /// Working folder, relative to the workflow's base folder.
        cwd: Option<String>,
    },
    /// It runs already, behind a URL (streamable HTTP).
    Url {
        /// See [`check_url`].
        url: String,
        /// Headers of every request; values as written.
        headers: BTreeMap<String, String>,
    },
}

/// The policy for questions that a server has for the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Elicitation {
    /// It is told no.
    #[default]
    Decline,
    /// A form is accepted with its own defaults, if it has one for every required field.
    Defaults,
}

/// A tool that does an agent's work: the prompt is one of its arguments, and no agent CLI is started.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentTool {
    /// Name of the server.
    pub server: String,
    /// Name of the tool there.
    pub tool: String,
    /// The argument that gets the prompt.
    pub prompt: String,
    /// The other arguments, as written.
    pub arguments: serde_json::Map<String, serde_json::Value>,
}

impl McpServer {
    /// One that is started by a command alone.
    pub fn of_command(command: &str) -> Self {
        let (args, env) = (Vec::new(), BTreeMap::new());
        let reach = McpReach::Command { command: command.to_owned(), args, env, cwd: None };
        McpServer { reach, max_concurrent: None, elicitation: Elicitation::default() }
    }
}

/// Whether a server may be behind that URL: TLS, or this very machine. What is wrong, in words.
pub fn check_url(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").ok_or("it is no URL with a scheme, as in `https://host/mcp`")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if url.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
        return Err("it holds a blank or a character that must be written as `%XX`".into());
    }
    if authority.contains('@') {
        return Err("it holds a user's name or a password; say who you are under `headers:`".into());
    }
    if path.contains('#') {
        return Err("it holds a `#`, which is never sent".into());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.is_empty() || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("it names no host, or a port that is none".into());
    }
    let loopback = host.eq_ignore_ascii_case("localhost")
        || host == "[::1]"
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    match scheme.to_ascii_lowercase().as_str() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        "http" => {
            Err("everybody on the way could read and change it; use `https://` (`http://` is for localhost)".into())
        }
        _ => Err("it is neither `https://` nor `http://`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::check_url;

    #[test]
    fn only_encrypted_or_local_addresses_are_accepted() {
        for good in [
            "https://example.com/mcp",
            "https://example.com:8443",
            "http://localhost:3000/mcp",
            "http://127.0.0.1:1/x?y=z",
            "http://[::1]:80/",
        ] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "example.com",
            "http://example.com/mcp",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "https://user:pass@example.com/",
            "http://localhost@example.com/",
            "https://example.com/#a",
            "https://exa mple.com/",
            "https:///mcp",
            "https://example.com:99999/",
            "ftp://localhost/",
            "http://[::2]/",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
