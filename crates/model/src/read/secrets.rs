//! Where `${secret:NAME}` may stand: in values that become environment variables of one child or headers of one server,
//! and nowhere else, since everything else is stored, shown or sent to a model. It does not know what any secret is.

use super::Reading;
use crate::diagnostic::quoted;
use crate::secret;
use crate::syntax::{Data, Entry, Node};

/// Judges every reference to a secret in the whole document.
pub(super) fn check(entries: &[Entry<'_>], cx: &mut Reading<'_, '_>) {
    for entry in entries {
        match (&*entry.key, &entry.value.data) {
            ("tasks", Data::List(tasks)) => {
                for task in tasks {
                    cx.sink.task = task.get("id").and_then(Node::text).map(str::to_owned);
                    let is_private = |key: &str| key == "env";
                    members(task, &is_private, cx);
                }
                cx.sink.task = None;
            }
            ("mcp_servers", Data::Map(servers)) => {
                let is_private = |key: &str| matches!(key, "env" | "headers");
                servers.iter().for_each(|server| members(&server.value, &is_private, cx));
            }
            _ => forbidden(&entry.value, cx),
        }
    }
}

fn members(node: &Node<'_>, is_private: &dyn Fn(&str) -> bool, cx: &mut Reading<'_, '_>) {
    let Data::Map(entries) = &node.data else { return forbidden(node, cx) };
    for entry in entries {
        match &entry.value.data {
            // It has an environment of its own.
            Data::Map(_) if entry.key == "compensate" => members(&entry.value, is_private, cx),
            Data::Map(values) if is_private(&entry.key) => values.iter().for_each(|value| allowed(&value.value, cx)),
            _ => forbidden(&entry.value, cx),
        }
    }
}

/// A value in which secrets may be named: those that there are.
fn allowed(node: &Node<'_>, cx: &mut Reading<'_, '_>) {
    let Some(text) = node.text() else { return forbidden(node, cx) };
    for name in secret::names(text).filter(|name| !cx.catalog.secrets.contains(*name)) {
        let near = cx.sink.nearest(name, cx.catalog.secrets.iter().map(String::as_str));
        let note = cx.sink.error("unknown-secret", node.span, format!("no secret is called {}", quoted(name)));
        match near {
            Some(near) => note.help(format!("did you mean {}?", quoted(near))),
            None => note.help(format!(
                "say where it comes from in raddle.toml or the user's configuration: `[secrets.{name}]` with `env`, \
                 `file` or `command`"
            )),
        };
    }
}

fn forbidden(node: &Node<'_>, cx: &mut Reading<'_, '_>) {
    match &node.data {
        Data::Text(text) => {
            if let Some(name) = secret::names(text).next() {
                cx.sink
                    .error(
                        "secret-not-allowed-here",
                        node.span,
                        format!("the secret {name} would be written down here"),
                    )
                    .help(
                        "name it under `env:` of a shell or agent task and let the program read the variable; \
                         `$${secret:` is the literal text where references are replaced",
                    );
            }
        }
        Data::List(items) => items.iter().for_each(|item| forbidden(item, cx)),
        Data::Map(entries) => entries.iter().for_each(|entry| forbidden(&entry.value, cx)),
        Data::Null | Data::Bool(_) | Data::Number(_) => {}
    }
}

/// Tells that the task's `env:` reaches no process.
pub(super) fn not_in_a_process(executor: &str, span: crate::syntax::Span, cx: &mut Reading<'_, '_>) {
    cx.sink
        .error("secret-not-allowed-here", span, format!("executor `{executor}` starts no process that gets `env:`"))
        .help("a server's secrets go to `mcp_servers`, a provider's key to `[providers.*]` of the configuration");
}
