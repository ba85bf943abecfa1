//! `[providers.*]`, `[models.*]` and `[executors.api]` as the executor `api` wants them. It does not know protocols, nor
//! any key's value.

use raddle_executors::api::{ApiConfig, Kind, ModelRoute, ProviderConfig};
use raddle_model::secret::{self, Part};
use raddle_model::workflow::{Task, TaskKind, Workflow};
use raddle_model::{Diagnostic, Severity};

use crate::config::{Configuration, Value};
use crate::problem::Problem;

/// Providers, models and chain as they are configured, over what is built in.
pub fn api(configuration: &Configuration) -> Result<ApiConfig, Problem> {
    let mut api = ApiConfig::default();
    for name in configuration.names("providers") {
        let text = |key| configuration.text(&["providers", name, key]);
        let kind = text("kind").and_then(Kind::from_name);
        let known = api.providers.get(name).filter(|known| kind.is_none_or(|kind| kind == known.kind));
        let (kind, base_url, key_env) = match (known, kind) {
            (Some(known), _) => (known.kind, known.base_url.clone(), known.key_env.clone()),
            (None, Some(kind)) => {
                let usual = ApiConfig::default().providers.into_values().find(|usual| usual.kind == kind);
                (kind, usual.map(|usual| usual.base_url).unwrap_or_default(), None)
            }
            (None, None) => {
                return Err(Problem::usage(format!("`[providers.{name}]` does not say which `kind` it is"))
                    .hint(format!("one of {}", Kind::WORDS.join(", "))));
            }
        };
        let key_secret = text("key").map(|key| secret_of(name, key)).transpose()?;
        let key_env = match (text("key_env"), &key_secret) {
            (Some(_), Some(_)) => {
                return Err(Problem::usage(format!("`[providers.{name}]` has `key` and `key_env`: keep one")));
            }
            (Some(""), _) | (None, Some(_)) => None,
            (Some(variable), None) => Some(variable.to_owned()),
            (None, None) => key_env,
        };
        let base_url = text("base_url").map_or(base_url, str::to_owned);
        api.providers.insert(name.to_owned(), ProviderConfig { kind, base_url, key_env, key_secret });
    }
    for name in configuration.names("models") {
        let text = |key| configuration.text(&["models", name, key]).map(str::to_owned);
        let route = ModelRoute { provider: text("provider"), id: text("id") };
        if route != ModelRoute::default() {
            let known = api.models.remove(name).unwrap_or_default();
            let route = ModelRoute { provider: route.provider.or(known.provider), id: route.id.or(known.id) };
            api.models.insert(name.to_owned(), route);
        }
    }
    api.model = configuration.text(&["executors", "api", "model"]).map(str::to_owned);
    if let Some(entry) = configuration.get(&["executors", "api", "fallback"])
        && let Value::List(models) = &entry.value
    {
        api.fallback = models.clone();
    }
    api.max_output_tokens = configuration.count(&["executors", "api", "max_output_tokens"], api.max_output_tokens).0;
    Ok(api)
}

/// The secret that a provider's `key` names. A key itself is not written into a configuration.
fn secret_of(provider: &str, key: &str) -> Result<String, Problem> {
    match secret::parts(key)[..] {
        [Part::Secret(name)] => Ok(name.to_owned()),
        _ => Err(Problem::usage(format!("`[providers.{provider}] key` is not exactly `${{secret:NAME}}`"))
            .hint("declare where the key comes from by `[secrets.NAME]`, or name a variable by `key_env`")),
    }
}

/// The secrets that are keys of the providers which tasks of executor `api` may ask.
pub fn secrets(workflow: &Workflow, api: &ApiConfig) -> Vec<String> {
    let agents = workflow.tasks.iter().filter(|task| task.executor == "api").filter_map(|task| match &task.kind {
        TaskKind::Agent(agent) => Some(agent),
        _ => None,
    });
    let models = agents
        .flat_map(|agent| [agent.model.as_deref()].into_iter().chain(agent.model_when_exhausted.as_deref().map(Some)));
    let chains = models.filter_map(|model| api.chain(model).ok());
    chains.flatten().filter_map(|target| target.config.key_secret).collect()
}

/// Why no provider can be asked here; `None` when one can. A provider without a key counts when somebody configured it:
/// nobody knows whether the built-in local one runs.
pub fn nobody(api: &ApiConfig, configuration: &Configuration) -> Option<String> {
    let configured = configuration.names("providers");
    let is_set = |variable: &String| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    let can = |(name, provider): (&String, &ProviderConfig)| match &provider.key_env {
        _ if provider.key_secret.is_some() => true,
        Some(variable) => is_set(variable),
        None => configured.contains(&name.as_str()),
    };
    if api.providers.iter().any(can) {
        return None;
    }
    let keys: Vec<&str> = api.providers.values().filter_map(|provider| provider.key_env.as_deref()).collect();
    Some(format!("no key is set ({}), and no provider without one is configured", keys.join(", ")))
}

/// What is wrong with the models of the tasks that name the executor `api`.
pub fn check(workflow: &Workflow, text: &str, api: &ApiConfig) -> Vec<Diagnostic> {
    let mut wrong = Vec::new();
    for task in workflow.tasks.iter().filter(|task| task.executor == "api") {
        let TaskKind::Agent(agent) = &task.kind else { continue };
        let other = agent.model_when_exhausted.as_deref().map(|model| api.chain(Some(model)));
        let Err(error) = api.chain(agent.model.as_deref()).and_then(|_| other.unwrap_or_else(|| Ok(Vec::new()))) else {
            continue;
        };
        wrong.push(no_model(task, text, format!("executor api cannot perform the task: {error}")));
    }
    wrong
}

/// A task that no model can perform.
pub fn no_model(task: &Task, text: &str, message: String) -> Diagnostic {
    let at = byte_at(text, task.line, task.column);
    Diagnostic {
        severity: Severity::Error,
        code: "unknown-model",
        message,
        task: Some(task.id.clone()),
        span: at..at,
        line: task.line,
        column: task.column,
        help: None,
    }
}

/// The byte at which a line and column (from 1, in characters) stand.
fn byte_at(text: &str, line: u32, column: u32) -> usize {
    let mut begin = 0;
    for (n, words) in (1..).zip(text.split_inclusive('\n')) {
        if n == line {
            let within = words.char_indices().nth(column.saturating_sub(1) as usize);
            return begin + within.map_or(words.len(), |(at, _)| at);
        }
        begin += words.len();
    }
    begin
}
