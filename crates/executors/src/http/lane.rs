//! One lane's thread: one request after the other over a connection that is kept. It does not know which lanes there
//! are beside it.

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use ureq::http::Response;
use ureq::{Agent, Body};

use super::sse::{self, Events};
use super::{Errand, Job, LetterBox, ServerAddress, Trouble, What};
use crate::mcp::answers;

/// The largest message.
const MESSAGE_BYTES: usize = 64 << 20;
/// So much of a refusal is read.
const REFUSAL_BYTES: u64 = 64 << 10;
/// How long to wait before a stream is asked for again, when the server does not say.
const RETRY: Duration = Duration::from_secs(1);
/// So often in a row a stream is asked for that brings nothing.
const FRUITLESS: u32 = 5;
/// How long a server may take to end a session.
const DELETE: Duration = Duration::from_secs(2);
const SESSION: &str = "mcp-session-id";

pub(super) struct Work {
    pub(super) agent: Agent,
    pub(super) address: Arc<ServerAddress>,
    pub(super) jobs: Receiver<Job>,
    pub(super) letters: LetterBox,
}

/// What a response is.
enum Kind {
    Json,
    Stream,
    Nothing,
    /// The answer has been passed on already.
    Answered,
}

/// Nobody wants to know any more.
struct Stopped;

impl Work {
    pub(super) fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            let over = match &job.errand {
                Errand::Post { message, request, resumable } => self.post(&job, message, *request, *resumable),
                Errand::Listen => self.listen(&job),
                Errand::Delete => self.delete(&job),
            };
            let Ok(over) = over else { return };
            if !self.letters.put(What::Over(over)) {
                return;
            }
        }
    }

    fn post(
        &self,
        job: &Job,
        message: &[u8],
        request: Option<u64>,
        resumable: bool,
    ) -> Result<Result<(), Trouble>, Stopped> {
        let asked = self.with_headers(self.agent.post(&self.address.url), job);
        let asked = asked.header("Content-Type", "application/json").header("Accept", BOTH);
        let mut response = match asked.send(message) {
            Ok(response) => response,
            Err(error) => return Ok(Err(trouble(&error))),
        };
        let has_session = job.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(SESSION));
        let kind = match self.kind_of(&mut response, request, has_session)? {
            Ok(kind) => kind,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let session = response.headers().get(SESSION).and_then(|value| value.to_str().ok());
        if let Some(session) = session.filter(|s| !s.is_empty() && s.len() <= 1000 && sse::is_visible(s))
            && !has_session
        {
            self.tell(What::Session(session.to_owned()))?;
        }
        match kind {
            Kind::Nothing if request.is_some() => Ok(Err(Trouble::Refused("it answered without a message".into()))),
            Kind::Nothing | Kind::Answered => Ok(Ok(())),
            Kind::Json => match read_all(response.into_body(), MESSAGE_BYTES as u64) {
                Ok(message) => {
                    self.tell(What::Message(message))?;
                    Ok(Ok(()))
                }
                Err(error) => Ok(Err(trouble(&error))),
            },
            Kind::Stream => self.streams(job, response.into_body(), request, resumable),
        }
    }

    /// Reads a stream up to the answer; where that is wanted, over as many connections as it takes.
    fn streams(
        &self,
        job: &Job,
        body: Body,
        request: Option<u64>,
        resumable: bool,
    ) -> Result<Result<(), Trouble>, Stopped> {
        let mut events = Events::new(MESSAGE_BYTES);
        let mut body = Some(body);
        let mut fruitless = 0;
        loop {
            let mut ended = "it ended the stream without an answer".to_owned();
            if let Some(body) = body.take() {
                let read = self.stream(body, request, &mut events)?;
                if read.answered || request.is_none() {
                    return Ok(Ok(()));
                }
                if read.messages > 0 {
                    fruitless = 0;
                }
                if let Some(error) = read.error {
                    ended = error;
                }
            }
            fruitless += 1;
            if !resumable || events.last_id.is_none() || fruitless > FRUITLESS {
                return Ok(Err(Trouble::Lost(ended)));
            }
            self.sleep(events.retry.unwrap_or(RETRY))?;
            events.reconnected();
            match self.ask_for_stream(job, events.last_id.as_deref()) {
                Ok(Some(again)) => body = Some(again),
                Ok(None) => return Ok(Err(Trouble::Lost(format!("{ended}, and it does not go on with it")))),
                Err(_) => {}
            }
        }
    }

    /// Listens until the server does not want to be listened to.
    fn listen(&self, job: &Job) -> Result<Result<(), Trouble>, Stopped> {
        let mut events = Events::new(MESSAGE_BYTES);
        let mut fruitless = 0;
        while fruitless <= FRUITLESS {
            match self.ask_for_stream(job, events.last_id.as_deref()) {
                Ok(Some(body)) => {
                    let read = self.stream(body, None, &mut events)?;
                    fruitless = if read.messages > 0 { 0 } else { fruitless + 1 };
                }
                Ok(None) => break,
                Err(_) => fruitless += 1,
            }
            self.sleep(events.retry.unwrap_or(RETRY))?;
            events.reconnected();
        }
        Ok(Ok(()))
    }

    fn delete(&self, job: &Job) -> Result<Result<(), Trouble>, Stopped> {
        let asked = self.with_headers(self.agent.delete(&self.address.url), job);
        let asked = asked.config().timeout_global(Some(DELETE)).build();
        // Whatever it says, that was our last word.
        let _ = asked.call();
        Ok(Ok(()))
    }

    /// A stream, from where it was; none when the server has none.
    fn ask_for_stream(&self, job: &Job, last_id: Option<&str>) -> Result<Option<Body>, ureq::Error> {
        let asked = self.with_headers(self.agent.get(&self.address.url), job);
        let mut asked = asked.header("Accept", "text/event-stream");
        if let Some(id) = last_id {
            asked = asked.header("Last-Event-ID", id);
        }
        let response = asked.call()?;
        let is_stream = response.status() == 200 && content_type(&response) == "text/event-stream";
        Ok(is_stream.then(|| response.into_body()))
    }

    /// Reads a stream to its end; what is behind the answer too, for then the connection can be used again.
    fn stream(&self, body: Body, request: Option<u64>, events: &mut Events) -> Result<StreamEnd, Stopped> {
        let mut reader = body.into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 32 << 10];
        let mut read = StreamEnd { answered: false, messages: 0, error: None };
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => return Ok(read),
                Ok(n) => n,
                Err(error) => {
                    read.error = Some(format!("the connection was lost: {error}"));
                    return Ok(read);
                }
            };
            let mut told = Ok(());
            let fed = events.feed(&buffer[..n], |event| {
                read.messages += 1;
                read.answered |= request.is_some_and(|request| answers(&event.data, request));
                if told.is_ok() {
                    told = self.tell(What::Message(event.data));
                }
            });
            told?;
            if fed.is_err() {
                read.error = Some("it sent a message of more than 64 MB".into());
                return Ok(read);
            }
        }
    }

    fn with_headers<B>(&self, mut request: ureq::RequestBuilder<B>, job: &Job) -> ureq::RequestBuilder<B> {
        for (name, value) in self.address.headers.iter().chain(&job.headers) {
            request = request.header(name, value);
        }
        request
    }

    /// Sorts a response; a refusal that is itself an answer to the request goes on as a message.
    fn kind_of(
        &self,
        response: &mut Response<Body>,
        request: Option<u64>,
        has_session: bool,
    ) -> Result<Result<Kind, Trouble>, Stopped> {
        let status = response.status().as_u16();
        let kind = content_type(response);
        if (200..300).contains(&status) {
            return Ok(match &*kind {
                _ if matches!(status, 202 | 204) => Ok(Kind::Nothing),
                "application/json" => Ok(Kind::Json),
                "text/event-stream" => Ok(Kind::Stream),
                _ if request.is_none() => Ok(Kind::Nothing),
                other => Err(Trouble::Refused(format!("it answered with {other:?} instead of JSON or a stream"))),
            });
        }
        if (300..400).contains(&status) {
            let to = response.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or("another place");
            let to: String = to.chars().take(300).filter(|c| !c.is_control()).collect();
            let told = format!("it redirects to {to} (HTTP {status}), which is not followed; name that URL instead");
            return Ok(Err(Trouble::Refused(told)));
        }
        let words = response.body_mut().with_config().limit(REFUSAL_BYTES).read_to_vec().unwrap_or_default();
        if request.is_some_and(|request| answers(&words, request)) && !matches!(status, 401 | 403) {
            self.tell(What::Message(words))?;
            return Ok(Ok(Kind::Answered));
        }
        let text: String = String::from_utf8_lossy(&words).chars().take(500).filter(|c| !c.is_control()).collect();
        let told = format!("HTTP {status}{}{text}", if text.is_empty() { "" } else { ": " });
        Ok(Err(match status {
            401 => Trouble::Forbidden(format!("{told}; give it what it wants to know under `headers:`")),
            403 => Trouble::Forbidden(told),
            404 if has_session => Trouble::SessionGone,
            _ => Trouble::Refused(told),
        }))
    }

    fn tell(&self, what: What) -> Result<(), Stopped> {
        if self.letters.put(what) { Ok(()) } else { Err(Stopped) }
    }

    /// Waits, unless the lane is given up.
    fn sleep(&self, wait: Duration) -> Result<(), Stopped> {
        match self.jobs.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            // No lane gets a second job while it is busy.
            Ok(_) | Err(RecvTimeoutError::Disconnected) => Err(Stopped),
        }
    }
}

const BOTH: &str = "application/json, text/event-stream";

/// What reading a stream came to.
struct StreamEnd {
    answered: bool,
    messages: u32,
    error: Option<String>,
}

fn content_type(response: &Response<Body>) -> String {
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn read_all(body: Body, limit: u64) -> Result<Vec<u8>, ureq::Error> {
    body.into_with_config().limit(limit).read_to_vec()
}

/// Whose fault it is, and whether anything can have been done.
fn trouble(error: &ureq::Error) -> Trouble {
    use std::io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, InvalidData, InvalidInput, NetworkUnreachable, NotFound,
    };
    let words = error.to_string();
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::Tls(_)
        | ureq::Error::Rustls(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Trouble::Unreachable(words),
        ureq::Error::BodyExceedsLimit(_) => Trouble::Refused("it sent a message of more than 64 MB".into()),
        ureq::Error::Io(error) => match error.kind() {
            // A certificate that is not believed is invalid data; it is judged before anything is sent.
            ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable | NotFound | InvalidInput
            | InvalidData => Trouble::Unreachable(words),
            _ => Trouble::Lost(format!("the connection was lost: {words}")),
        },
        _ => Trouble::Refused(words),
    }
}
