//! One call of a provider over one HTTP connection, and the chain of calls that an attempt may take. It runs on a thread
//! of its own and blocks there. It does not know who asked, nor how it is stopped: whoever shuts the agent down closes
//! the connection.

use std::io::Read;
use std::time::Duration;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{Failure, RawOutput, Usage};
use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::dialect::Question;
use super::heard::Heard;
use super::providers::Target;
use super::verdict::{self, Refusal};
use crate::lines::Lines;

/// The longest event of a stream.
const MAX_EVENT_BYTES: usize = 8 << 20;
/// The longest stream; an answer is much smaller, its wrapping is not.
const MAX_STREAM_BYTES: u64 = 256 << 20;
/// How much of an error's body is read.
const MAX_ERROR_BYTES: u64 = 64 << 10;
/// How long a name may take to be resolved and a connection to be made.
const CONNECT: Duration = Duration::from_secs(15);
/// A request that nobody takes for so long is given up.
const WRITE: Duration = Duration::from_secs(60);

/// Who is told what is heard.
pub(super) trait Listener {
    /// A piece of the answer.
    fn said(&mut self, piece: &str);
    /// Another target is asked instead, and why.
    fn passed_on(&mut self, to: &Target, why: &str);
}

/// What an attempt came to.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) result: Result<RawOutput, Failure>,
    pub(super) usage: Option<Usage>,
}

/// A client for one attempt. Redirects are answers that nobody expects: they would carry the key elsewhere.
pub(super) fn agent(idle: Duration) -> Agent {
    // What the machine trusts is trusted, as for every other program here.
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_per_read(Some(idle))
        .timeout_per_write(Some(WRITE))
        .user_agent(concat!("raddle/", env!("CARGO_PKG_VERSION")))
        .build();
    config.new_agent()
}

/// Asks the targets in turn until one answers. The next one is only asked when the one before could not do anything
/// about its refusal, and had not begun to answer.
pub(super) fn ask(
    agent: &Agent,
    chain: &[Target],
    question: &Question,
    key: &dyn Fn(&Target) -> Result<Option<String>, Failure>,
    listener: &mut dyn Listener,
) -> Ending {
    let mut targets = chain.iter().peekable();
    while let Some(target) = targets.next() {
        let mut heard = Heard::default();
        let question = Question { model: target.id.clone(), ..question.clone() };
        let asked = key(target).map_err(Refusal::from).and_then(|key| {
            let asked = call(agent, target, &question, key.as_deref(), &mut heard, listener);
            asked.map_err(|refusal| without_key(refusal, key.as_deref()))
        });
        let refusal = match asked {
            Ok(()) => {
                let usage = heard.usage;
                return Ending { result: heard.conclude(question.schema.is_some()), usage };
            }
            Err(refusal) => refusal,
        };
        match targets.peek().filter(|_| refusal.elsewhere && heard.text.is_empty()) {
            Some(next) => listener.passed_on(next, &refusal.failure.message),
            None => return Ending { result: Err(refusal.failure), usage: heard.usage },
        }
    }
    unreachable!("a chain has at least one target, and the last one returns")
}

fn call(
    agent: &Agent,
    target: &Target,
    question: &Question,
    key: Option<&str>,
    heard: &mut Heard,
    listener: &mut dyn Listener,
) -> Result<(), Refusal> {
    let kind = target.config.kind;
    let request = kind.request(question);
    let url = format!("{}{}", target.config.base_url.trim_end_matches('/'), request.path);
    let mut post = agent.post(&url).header("content-type", "application/json").header("accept", "*/*");
    for (name, value) in &request.headers {
        post = post.header(*name, *value);
    }
    if let Some(key) = key {
        let (name, before) = request.key_header;
        post = post.header(name, format!("{before}{key}"));
    }
    if url.starts_with("http://") {
        // Only this machine is spoken to in the clear, and no proxy is this machine.
        post = post.config().proxy(None).build();
    }
    let body = serde_json::to_vec(&request.body).expect("a JSON value can be written");
    let mut response = post.send(&body[..]).map_err(|error| out_of_reach(target, &error))?;
    if response.status() != 200 {
        return Err(refused(target, &mut response));
    }
    let mut reader = response.body_mut().with_config().limit(MAX_STREAM_BYTES).reader();
    let mut lines = Lines::new(MAX_EVENT_BYTES);
    let mut buffer = vec![0; 16 << 10];
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(n) => n,
            Err(error) => return Err(broken(target, error)),
        };
        let mut result = Ok(());
        let mut take = |line: &[u8]| {
            if result.is_ok() {
                result = hear(target, line, heard, listener);
            }
        };
        let fed = match n {
            0 => {
                take(&lines.rest());
                Ok(())
            }
            n => lines.feed(&buffer[..n], take),
        };
        result?;
        if fed.is_err() {
            let what = format!("{} sent an event of more than {} MB", target.provider, MAX_EVENT_BYTES >> 20);
            return Err(Failure::new(FailureClass::Output, what).into());
        }
        if n == 0 {
            return Ok(());
        }
    }
}

/// Takes one line of the stream.
fn hear(target: &Target, line: &[u8], heard: &mut Heard, listener: &mut dyn Listener) -> Result<(), Refusal> {
    let kind = target.config.kind;
    let Some(payload) = kind.payload(line) else { return Ok(()) };
    let piece: Value = serde_json::from_slice(payload).map_err(|error| {
        Failure::new(FailureClass::Output, format!("{} sent an event that is not JSON: {error}", target.provider))
    })?;
    if piece.get("error").is_some_and(|error| !error.is_null()) {
        return Err(verdict::in_stream(&target.provider, &piece));
    }
    let before = heard.text.len();
    kind.hear(&piece, heard)?;
    if heard.text.len() > before {
        listener.said(&heard.text[before..]);
    }
    Ok(())
}

fn refused(target: &Target, response: &mut Response<Body>) -> Refusal {
    let status = response.status().as_u16();
    let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let resets_in = verdict::resets_in(header);
    let mut body = Vec::new();
    // What cannot be read is only the explanation.
    let _ = response.body_mut().as_reader().take(MAX_ERROR_BYTES).read_to_end(&mut body);
    verdict::by_status(&target.provider, status, &body, resets_in)
}

/// No HTTP answer came.
fn out_of_reach(target: &Target, error: &ureq::Error) -> Refusal {
    let (class, elsewhere) = match error {
        ureq::Error::Timeout(ureq::Timeout::PerRead) => (FailureClass::Idle, false),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => (FailureClass::Input, false),
        _ => (FailureClass::Start, true),
    };
    let what = format!("cannot reach {} at {}: {error}", target.provider, target.config.base_url);
    Refusal { failure: Failure::new(class, what), elsewhere }
}

/// The connection broke within an answer.
fn broken(target: &Target, error: std::io::Error) -> Refusal {
    let idle = matches!(
        error.get_ref().and_then(|e| e.downcast_ref::<ureq::Error>()),
        Some(ureq::Error::Timeout(ureq::Timeout::PerRead))
    );
    let class =
        if idle || error.kind() == std::io::ErrorKind::TimedOut { FailureClass::Idle } else { FailureClass::Output };
    let what = match class {
        FailureClass::Idle => format!("{} said nothing more", target.provider),
        _ => format!("the connection to {} broke within the answer: {error}", target.provider),
    };
    Refusal { failure: Failure::new(class, what), elsewhere: true }
}

/// Providers repeat keys in their complaints about them.
fn without_key(mut refusal: Refusal, key: Option<&str>) -> Refusal {
    if let Some(key) = key.filter(|key| key.len() >= 8) {
        refusal.failure.message = refusal.failure.message.replace(key, "[key]");
    }
    refusal
}
