//! The executor `api` against a server on this machine that speaks the providers' protocols over real connections.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::Bench;
use raddle_engine::FailureClass;
use raddle_engine::attempt::{AgentWork, AttemptSpec, Conversation, Demands, Ended, RawOutput, StopCause, Usage, Work};
use raddle_executors::api::{ApiConfig, ApiExecutor, Kind, ProviderConfig};
use serde_json::{Value, json};

/// What the server says to one request.
#[derive(Clone)]
enum Say {
    /// Status, further headers, body; the connection is closed after it.
    Answer(u16, &'static str, String),
    /// Headers of a stream and this much of it; then nothing, with the connection open.
    Silence(&'static str),
}

/// Answers each request by the next of its words, and keeps the requests: head and body.
struct Provider {
    url: String,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Provider {
    fn new(words: Vec<Say>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for say in words {
                let (stream, _) = listener.accept().unwrap();
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &say, &kept));
            }
        });
        Provider { url, requests }
    }

    fn request(&self, n: usize) -> (String, Value) {
        self.requests.lock().unwrap()[n].clone()
    }
}

fn serve(mut stream: TcpStream, say: &Say, kept: &Mutex<Vec<(String, Value)>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).unwrap();
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    kept.lock().unwrap().push((head, serde_json::from_slice(&body).unwrap()));
    match say {
        Say::Answer(status, headers, body) => {
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}\r\n{body}");
        }
        Say::Silence(begin) => {
            let _ = write!(stream, "HTTP/1.1 200 X\r\nconnection: close\r\n\r\n{begin}");
            // Ends when the other side closes the connection.
            let _ = reader.read(&mut [0]);
        }
    }
}

fn sse(events: &[Value]) -> Say {
    Say::Answer(200, "", events.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect())
}

fn anthropic_says(text: &str) -> Say {
    let (head, tail) = text.split_at(text.len() / 2);
    sse(&[
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1,
            "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}}}),
        json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": head}}),
        json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": tail}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ])
}

/// One provider of that kind, called `p`, whose key is in a variable that every test process has.
fn config(kind: Kind, url: &str) -> ApiConfig {
    let provider =
        ProviderConfig { kind, base_url: url.to_owned(), key_env: Some("CARGO_PKG_NAME".to_owned()), key_secret: None };
    let mut config = ApiConfig::default();
    config.providers.insert("p".to_owned(), provider);
    config
}

fn work(model: &str) -> AgentWork {
    AgentWork {
        cli: "claude".into(),
        prompt: "the question".into(),
        model: Some(model.to_owned()),
        system_prompt: Some("be brief".into()),
        tools: None,
        schema: None,
        conversation: Conversation::Fresh,
        begins_foreign: false,
    }
}

fn spec(bench: &mut Bench, work: AgentWork) -> AttemptSpec {
    let demands = Demands { executor: Some("api".into()), ..Demands::default() };
    AttemptSpec { demands, timeout: Duration::from_secs(20), ..bench.spec(Work::Agent(Box::new(work))) }
}

fn ask(config: ApiConfig, work: AgentWork) -> Ended {
    let mut bench = Bench::new();
    bench.dispatcher.register(Box::new(ApiExecutor::new(config)));
    let spec = spec(&mut bench, work);
    let key = bench.start(spec);
    bench.end_of(key)
}

#[test]
fn four_protocols_give_the_same_answer() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
        "additionalProperties": false});
    let answer = "{\"n\":4}";
    let openai = sse(&[
        json!({"choices": [{"delta": {"role": "assistant", "content": "{\"n\""}}]}),
        json!({"choices": [{"delta": {"content": ":4}"}, "finish_reason": "stop"}]}),
        json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 3}}}),
    ]);
    let gemini = sse(&[
        json!({"candidates": [{"content": {"parts": [{"text": "hm", "thought": true}, {"text": "{\"n\":"}]}}]}),
        json!({"candidates": [{"content": {"parts": [{"text": "4}"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 4,
                "cachedContentTokenCount": 3}}),
    ]);
    let ollama = "{\"message\":{\"content\":\"{\\\"n\\\":4}\"},\"done\":false}\n\
        {\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":7,\"eval_count\":9}\n";
    let cases = [
        (Kind::Anthropic, anthropic_says(answer), "/v1/messages", "x-api-key: ", 3, "/output_config/format/schema"),
        (Kind::OpenAi, openai, "/chat/completions", "authorization: bearer ", 3, "/response_format/json_schema/schema"),
        (
            Kind::Gemini,
            gemini,
            "/v1beta/models/m%2F1:streamGenerateContent?alt=sse",
            "x-goog-api-key: ",
            3,
            "/generationConfig/responseJsonSchema",
        ),
        (Kind::Ollama, Say::Answer(200, "", ollama.to_owned()), "/api/chat", "authorization: bearer ", 0, "/format"),
    ];
    for (kind, say, path, key, cached, place) in cases {
        let provider = Provider::new(vec![say]);
        let ended = ask(config(kind, &provider.url), AgentWork { schema: Some(schema.clone()), ..work("p/m/1") });
        assert_eq!(ended.result, Ok(RawOutput::Json(answer.into())), "{kind:?}");
        let Usage { input_tokens, output_tokens, cache_read_tokens, .. } = ended.usage.unwrap();
        assert_eq!((input_tokens, output_tokens, cache_read_tokens), (7, 9, cached), "{kind:?}");
        let (head, body) = provider.request(0);
        assert!(head.starts_with(&format!("POST {path} ")), "{head}");
        assert!(head.to_lowercase().contains(&format!("{key}raddle-executors")), "{head}");
        assert_eq!(body.pointer(place), Some(&schema), "{kind:?} {body}");
        let said = body.to_string();
        assert!(said.contains("the question") && said.contains("be brief"), "{said}");
    }
}

#[test]
fn a_schema_that_no_strict_mode_takes_is_asked_for_in_words() {
    let provider = Provider::new(vec![anthropic_says("```json\n[1]\n```")]);
    let schema = json!({"type": "array", "items": {"type": "integer"}});
    let ended = ask(config(Kind::Anthropic, &provider.url), AgentWork { schema: Some(schema), ..work("p/m") });
    assert_eq!(ended.result, Ok(RawOutput::Json("[1]".into())));
    let (_, body) = provider.request(0);
    assert!(body["system"].as_str().unwrap().contains("JSON Schema") && body.get("output_config").is_none(), "{body}");
}

#[test]
fn refusals_have_their_classes_and_keys_stay_unsaid() {
    let error = |kind: &str, message: &str| json!({"error": {"type": kind, "message": message}}).to_string();
    let cases = [
        (Say::Answer(401, "", error("authentication_error", "bad key raddle-executors")), FailureClass::Auth, "[key]"),
        (Say::Answer(429, "retry-after: 30\r\n", error("rate_limit_error", "slow")), FailureClass::Quota, "in 30 s"),
        (Say::Answer(400, "", error("invalid_request_error", "no")), FailureClass::Input, "no"),
        (Say::Answer(529, "", error("overloaded_error", "busy")), FailureClass::Exit, "busy"),
        (Say::Answer(307, "location: http://127.0.0.1:1/\r\n", String::new()), FailureClass::Input, "307"),
        (
            sse(&[json!({"type": "error", "error": {"type": "rate_limit_error", "message": "x"}})]),
            FailureClass::Quota,
            "x",
        ),
        (
            sse(&[json!({"type": "message_start", "message": {}})]),
            FailureClass::Output,
            "before the answer was complete",
        ),
        (
            sse(&[json!({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}})]),
            FailureClass::Output,
            "max_output_tokens",
        ),
        (Say::Answer(200, "", "data: nonsense\n\n".to_owned()), FailureClass::Output, "not JSON"),
    ];
    for (say, class, words) in cases {
        let provider = Provider::new(vec![say]);
        let failure = ask(config(Kind::Anthropic, &provider.url), work("p/m")).result.unwrap_err();
        assert_eq!(failure.class, class, "{failure:?}");
        assert!(failure.message.contains(words) && !failure.message.contains("raddle-executors"), "{failure:?}");
    }
}

#[test]
fn a_limit_or_an_outage_passes_the_question_on() {
    let limit = json!({"error": {"type": "rate_limit_error", "message": "slow"}}).to_string();
    let provider = Provider::new(vec![Say::Answer(429, "", limit), anthropic_says("from the second")]);
    let mut config = config(Kind::Anthropic, &provider.url);
    // Nobody listens at this address.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed =
        ProviderConfig { kind: Kind::OpenAi, base_url: format!("http://{nobody}"), key_env: None, key_secret: None };
    config.providers.insert("closed".to_owned(), closed);
    config.fallback = vec!["closed/x".to_owned(), "p/second".to_owned()];
    let mut bench = Bench::new();
    bench.dispatcher.register(Box::new(ApiExecutor::new(config)));
    let spec = spec(&mut bench, work("p/first"));
    let key = bench.start(spec);
    assert_eq!(bench.end_of(key).result, Ok(RawOutput::Text("from the second".into())));
    let models: Vec<&str> = bench.models.iter().map(|(model, _)| model.as_str()).collect();
    assert_eq!(models, ["closed/x", "p/second"]);
    assert!(
        bench.models[0].1.contains("429") && bench.models[1].1.contains("cannot reach closed"),
        "{:?}",
        bench.models
    );

    let provider = Provider::new(vec![Say::Answer(503, "", "{}".to_owned())]);
    bench.dispatcher.register(Box::new(ApiExecutor::new(ApiConfig {
        fallback: vec!["ollama/x".to_owned()],
        ..self::config(Kind::Anthropic, &provider.url)
    })));
    let mut limited = self::spec(&mut bench, work("p/first"));
    limited.demands.one_model = true;
    let key = bench.start(limited);
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Exit, "a grant of models is not widened");
    let log = std::fs::read_to_string(bench.path().join("logs/t1.1.out")).unwrap();
    assert_eq!(log, "from the second\n");
}

#[test]
fn a_stop_closes_the_connection_and_silence_ends_the_attempt() {
    const BEGIN: &str = "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"half\"}}\n\n";
    let provider = Provider::new(vec![Say::Silence(BEGIN), Say::Silence(BEGIN)]);
    let mut bench = Bench::new();
    bench.dispatcher.register(Box::new(ApiExecutor::new(config(Kind::Anthropic, &provider.url))));
    let first = spec(&mut bench, work("p/m"));
    let key = bench.start(first);
    while bench.progress.is_empty() {
        bench.wait(Duration::from_secs(1));
    }
    assert_eq!(bench.progress, ["half"]);
    bench.stop(key, StopCause::Timeout, Duration::ZERO);
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Timeout);

    let silent = AttemptSpec { idle: Some(Duration::from_millis(200)), ..spec(&mut bench, work("p/m")) };
    let key = bench.start(silent);
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Idle);
}

#[test]
fn what_cannot_be_answered_is_refused_before_anything_is_sent() {
    let config = || config(Kind::Anthropic, "http://127.0.0.1:1");
    let refused = |config: ApiConfig, work: AgentWork| ask(config, work).result.unwrap_err();
    let failure = refused(config(), AgentWork { conversation: Conversation::Shared, ..work("p/m") });
    assert_eq!(failure.class, FailureClass::Permission, "{failure:?}");
    for (model, words) in [("mystery", "PROVIDER/mystery"), ("nobody/x", "nothing says which provider")] {
        let failure = refused(config(), work(model));
        assert!(failure.class == FailureClass::Input && failure.message.contains(words), "{failure:?}");
    }
    let mut keyless = config();
    keyless.providers.get_mut("p").unwrap().key_env = Some("RADDLE_TEST_NO_SUCH_KEY".to_owned());
    let failure = refused(keyless, work("p/m"));
    assert!(failure.class == FailureClass::Auth && failure.message.contains("RADDLE_TEST_NO_SUCH_KEY"), "{failure:?}");
    let mut clear = config();
    clear.providers.get_mut("p").unwrap().base_url = "http://192.0.2.1".to_owned();
    let failure = refused(clear, work("p/m"));
    assert!(failure.message.contains("unencrypted"), "{failure:?}");
}
