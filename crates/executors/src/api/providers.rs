//! Which provider answers for which model: the configured providers, the names of their models, the chain of models
//! that stand in for each other. It does not know the providers' protocols, nor the values of keys.

use std::collections::BTreeMap;
use std::fmt;

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's Chat Completions, which many others speak.
    OpenAi,
    /// Google's Gemini.
    Gemini,
    /// Ollama's own.
    Ollama,
}

impl Kind {
    /// The words of the configuration.
    pub const WORDS: &'static [&'static str] = &["anthropic", "openai", "gemini", "ollama"];

    /// The kind of a word.
    pub fn from_name(word: &str) -> Option<Kind> {
        let kinds = [Kind::Anthropic, Kind::OpenAi, Kind::Gemini, Kind::Ollama];
        Self::WORDS.iter().position(|known| *known == word).map(|at| kinds[at])
    }
}

/// One provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Its protocol.
    pub kind: Kind,
    /// Where its paths begin.
    pub base_url: String,
    /// The environment variable that holds the key; `None`: it wants none.
    pub key_env: Option<String>,
    /// The secret that is the key, in the place of a variable.
    pub key_secret: Option<String>,
}

impl ProviderConfig {
    fn has_key(&self) -> bool {
        self.key_env.is_some() || self.key_secret.is_some()
    }
}

/// What the configuration says of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelRoute {
    /// The provider that has it.
    pub provider: Option<String>,
    /// Its name there.
    pub id: Option<String>,
}

/// What the executor must be told.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiConfig {
    /// Providers by name.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Models by the names that workflows use.
    pub models: BTreeMap<String, ModelRoute>,
    /// For tasks that name no model.
    pub model: Option<String>,
    /// Models that are tried in turn when a provider is at its limit, out of reach or out of order.
    pub fallback: Vec<String>,
    /// The longest answer.
    pub max_output_tokens: u32,
}

impl Default for ApiConfig {
    fn default() -> Self {
        let provider = |kind, base_url: &str, key: Option<&str>| ProviderConfig {
            kind,
            base_url: base_url.to_owned(),
            key_env: key.map(str::to_owned),
            key_secret: None,
        };
        let gemini = "https://generativelanguage.googleapis.com";
        let providers = [
            ("anthropic", provider(Kind::Anthropic, "https://api.anthropic.com", Some("ANTHROPIC_API_KEY"))),
            ("openai", provider(Kind::OpenAi, "https://api.openai.com/v1", Some("OPENAI_API_KEY"))),
            ("gemini", provider(Kind::Gemini, gemini, Some("GEMINI_API_KEY"))),
            ("ollama", provider(Kind::Ollama, "http://127.0.0.1:11434", None)),
        ];
        let anthropic = |id: &str| ModelRoute { provider: Some("anthropic".to_owned()), id: Some(id.to_owned()) };
        // The short names that agent CLIs understand; the interface itself wants whole ones.
        let models = [("haiku", "claude-haiku-4-5"), ("sonnet", "claude-sonnet-4-5"), ("opus", "claude-opus-4-5")];
        ApiConfig {
            providers: providers.into_iter().map(|(name, provider)| (name.to_owned(), provider)).collect(),
            models: models.into_iter().map(|(name, id)| (name.to_owned(), anthropic(id))).collect(),
            model: None,
            fallback: Vec::new(),
            max_output_tokens: 8192,
        }
    }
}

/// Who answers for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The model as the workflow names it: prices are looked up by it.
    pub model: String,
    /// Its name at the provider.
    pub id: String,
    /// The provider's name.
    pub provider: String,
    /// The provider.
    pub config: ProviderConfig,
}

/// Nobody answers for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteError {
    /// The task names no model and there is no default.
    NoModel,
    /// The provider that was named is not configured.
    UnknownProvider {
        /// Its name.
        name: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// Nothing says which provider has the model.
    UnknownModel(String),
    /// A key would travel in the clear.
    KeyInTheClear {
        /// The provider.
        provider: String,
        /// Its address.
        base_url: String,
    },
    /// The address is none.
    BadAddress {
        /// The provider.
        provider: String,
        /// Its address.
        base_url: String,
    },
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModel => write!(f, "no model is named; give the task a `model`, or set `[executors.api] model`"),
            Self::UnknownProvider { name, known } => {
                write!(f, "there is no provider {name:?}; known: {}; others go to `[providers.NAME]`", known.join(", "))
            }
            Self::UnknownModel(model) => write!(
                f,
                "nothing says which provider has the model {model:?}; write PROVIDER/{model}, or set \
                 `[models.{model}] provider`"
            ),
            Self::KeyInTheClear { provider, base_url } => {
                write!(f, "the key of provider {provider:?} would travel unencrypted to {base_url}; use https")
            }
            Self::BadAddress { provider, base_url } => {
                write!(f, "the address of provider {provider:?} is neither http nor https: {base_url:?}")
            }
        }
    }
}

impl std::error::Error for RouteError {}

impl ApiConfig {
    /// Who answers for a model: `PROVIDER/ID`, else the configured route, else by the family in its name.
    pub fn target(&self, model: Option<&str>) -> Result<Target, RouteError> {
        let model = model.or(self.model.as_deref()).ok_or(RouteError::NoModel)?;
        let (provider, id) = self.route(model)?;
        let Some(config) = self.providers.get(&provider) else {
            return Err(RouteError::UnknownProvider {
                name: provider,
                known: self.providers.keys().cloned().collect(),
            });
        };
        let base_url = config.base_url.clone();
        let Some(host) = base_url.strip_prefix("https://").or_else(|| base_url.strip_prefix("http://")) else {
            return Err(RouteError::BadAddress { provider, base_url });
        };
        if base_url.starts_with("http://") && config.has_key() && !is_loopback(host) {
            return Err(RouteError::KeyInTheClear { provider, base_url });
        }
        Ok(Target { model: model.to_owned(), id, provider, config: config.clone() })
    }

    /// The model's target and those that stand in for it, each once.
    pub fn chain(&self, model: Option<&str>) -> Result<Vec<Target>, RouteError> {
        let mut chain = vec![self.target(model)?];
        for next in &self.fallback {
            let next = self.target(Some(next))?;
            if !chain.contains(&next) {
                chain.push(next);
            }
        }
        Ok(chain)
    }

    fn route(&self, model: &str) -> Result<(String, String), RouteError> {
        if let Some(route) = self.models.get(model)
            && let Some(provider) = &route.provider
        {
            return Ok((provider.clone(), route.id.clone().unwrap_or_else(|| model.to_owned())));
        }
        if let Some((provider, id)) = model.split_once('/')
            && self.providers.contains_key(provider)
        {
            return Ok((provider.to_owned(), id.to_owned()));
        }
        let lower = model.to_lowercase();
        let families: [(&[&str], &str); 3] = [
            (&["claude", "haiku", "sonnet", "opus"], "anthropic"),
            (&["gpt-", "o1", "o3", "o4", "chatgpt-"], "openai"),
            (&["gemini"], "gemini"),
        ];
        let of = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
        match families.iter().find(|(words, _)| of(words)) {
            Some((_, provider)) => Ok(((*provider).to_owned(), model.to_owned())),
            None => Err(RouteError::UnknownModel(model.to_owned())),
        }
    }
}

/// Whether the host of an address without its scheme is this machine.
fn is_loopback(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // What stands before an `@` is no host, whatever it looks like.
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
