//! What one call may still do and has done: its deadline, its log, its refusals, its questions to the parent. It does
//! not know the interpreter, which asks it from inside (interrupt handler, allocator, host functions).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::link::Link;
use crate::protocol::{
    Denial, MAX_ARGUMENTS, MAX_DENIALS, MAX_LOG, MAX_RESOURCE, MAX_TOOL_CALLS, Order, Refusal, Reply, ToolResult, cut,
};

/// State of the call that an interpreter performs.
#[derive(Debug)]
pub(crate) struct Call {
    link: Rc<Link>,
    id: Cell<u64>,
    timeout: Cell<Duration>,
    deadline: Cell<Option<Instant>>,
    timed_out: Cell<bool>,
    out_of_memory: Cell<bool>,
    denials: Cell<u32>,
    log: RefCell<String>,
    /// Tools called so far, how many of them are unanswered, and how many failed.
    questions: Cell<u32>,
    open: Cell<u32>,
    failures: Cell<u32>,
    /// Answers that came while a file was waited for.
    early: RefCell<VecDeque<Vec<u8>>>,
}

/// A file, or why there is none.
pub(crate) enum Access {
    /// The file's bytes.
    Granted(Vec<u8>),
    /// Not permitted, in words.
    Denied(String),
    /// Permitted, but not readable, in words.
    Failed(String),
}

impl Call {
    /// A call that has not begun: no deadline yet.
    pub(crate) fn new(link: Rc<Link>) -> Self {
        Call {
            link,
            id: Cell::new(0),
            timeout: Cell::default(),
            deadline: Cell::new(None),
            timed_out: Cell::new(false),
            out_of_memory: Cell::new(false),
            denials: Cell::new(0),
            log: RefCell::default(),
            questions: Cell::new(0),
            open: Cell::new(0),
            failures: Cell::new(0),
            early: RefCell::default(),
        }
    }

    /// The request has arrived; time runs.
    pub(crate) fn begin(&self, id: u64, timeout: Duration) {
        self.id.set(id);
        self.timeout.set(timeout);
        self.deadline.set(Instant::now().checked_add(timeout));
    }

    /// Whether the code must stop now. Once true it stays true, so that no `finally` block can win time.
    pub(crate) fn must_stop(&self) -> bool {
        if !self.timed_out.get() && self.deadline.get().is_some_and(|d| Instant::now() >= d) {
            self.timed_out.set(true);
        }
        self.timed_out.get() || self.denials.get() > MAX_DENIALS
    }

    /// Whether time ran out.
    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out.get()
    }

    /// The limit on its time.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.get()
    }

    /// The allocator had to refuse.
    pub(crate) fn note_out_of_memory(&self) {
        self.out_of_memory.set(true);
    }

    /// Whether the allocator ever had to refuse.
    pub(crate) fn out_of_memory(&self) -> bool {
        self.out_of_memory.get()
    }

    /// Whether no other call may follow in this process: it ran into a limit, even if the code went on, or answers are
    /// owed to it that would come to the next one.
    pub(crate) fn is_last(&self) -> bool {
        self.out_of_memory() || self.must_stop() || self.open.get() > 0
    }

    /// How often something was refused.
    pub(crate) fn denials(&self) -> u32 {
        self.denials.get()
    }

    /// Keeps a line of `console`, within the bound.
    pub(crate) fn log(&self, line: &str) {
        const CUT: &str = "[log cut]\n";
        let mut log = self.log.borrow_mut();
        let room = (MAX_LOG - CUT.len()).saturating_sub(log.len());
        if line.len() < room {
            log.push_str(line);
            log.push('\n');
        } else if !log.ends_with(CUT) {
            log.push_str(cut(line, room.saturating_sub(1)));
            log.push('\n');
            log.push_str(CUT);
        }
    }

    /// The log, which is empty afterwards.
    pub(crate) fn take_log(&self) -> String {
        self.log.take()
    }

    /// Tells the parent that the code tried something that nothing can allow.
    pub(crate) fn refuse(&self, action: &'static str, resource: &str, rule: &str) {
        self.denials.set(self.denials.get() + 1);
        if self.denials.get() <= MAX_DENIALS {
            let denial = Denial { action, resource: cut(resource, MAX_RESOURCE).to_owned(), rule: rule.to_owned() };
            self.link.send(&Reply::Denied { id: self.id.get(), denial });
        }
    }

    /// Asks the parent for a file and waits.
    pub(crate) fn read_file(&self, path: &str) -> Access {
        if path.len() > MAX_RESOURCE || path.contains('\0') {
            return Access::Failed("not a path".to_owned());
        }
        if self.denials.get() >= MAX_DENIALS {
            self.denials.set(MAX_DENIALS + 1);
            return Access::Denied("refused too often".to_owned());
        }
        self.link.send(&Reply::Read { id: self.id.get(), path: path.to_owned() });
        let mut body = self.receive();
        while let Some(Order::Tool { .. }) = Order::decode(&body) {
            self.early.borrow_mut().push_back(body);
            body = self.receive();
        }
        match Order::decode(&body) {
            Some(Order::File(Ok(_))) => {
                // The content is the frame's tail but for the empty second text.
                let (start, end) = (5, body.len() - 4);
                body.truncate(end);
                body.drain(..start);
                Access::Granted(body)
            }
            Some(Order::File(Err(Refusal::Denied { resource, rule }))) => {
                self.denials.set(self.denials.get() + 1);
                Access::Denied(format!("reading {resource:?} is not permitted: {rule}"))
            }
            Some(Order::File(Err(Refusal::Failed(message)))) => Access::Failed(format!("{path:?}: {message}")),
            // Without its parent the worker has no reason to be.
            Some(Order::Call { .. } | Order::Tool { .. }) | None => std::process::exit(crate::exit::BAD_PARENT),
        }
    }

    fn receive(&self) -> Vec<u8> {
        let mut body = Vec::new();
        if !self.link.receive(&mut body) {
            std::process::exit(crate::exit::BAD_PARENT);
        }
        body
    }

    /// Has the parent call a tool; the number by which the answer will be known, or why it is not even asked.
    pub(crate) fn call_tool(&self, name: &str, arguments: &str) -> Result<u32, String> {
        if name.len() > MAX_RESOURCE {
            return Err("the name of the tool is too long".to_owned());
        }
        if arguments.len() > MAX_ARGUMENTS {
            return Err(format!("the arguments are longer than {MAX_ARGUMENTS} bytes as JSON"));
        }
        if self.questions.get() >= MAX_TOOL_CALLS {
            return Err(format!("the code has called tools {MAX_TOOL_CALLS} times, which is the limit"));
        }
        if self.denials.get() >= MAX_DENIALS {
            self.denials.set(MAX_DENIALS + 1);
            return Err("refused too often".to_owned());
        }
        self.questions.set(self.questions.get() + 1);
        self.open.set(self.open.get() + 1);
        let (id, question) = (self.id.get(), self.questions.get());
        self.link.send(&Reply::Tool { id, question, name: name.to_owned(), arguments: arguments.to_owned() });
        Ok(question)
    }

    /// The next answer of a tool, waited for; `None` when none is owed. Its body decodes as [`Order::Tool`].
    pub(crate) fn next_tool_answer(&self) -> Option<Vec<u8>> {
        if self.open.get() == 0 {
            return None;
        }
        let early = self.early.borrow_mut().pop_front();
        let body = early.unwrap_or_else(|| self.receive());
        match Order::decode(&body) {
            Some(Order::Tool { answer, .. }) => match answer {
                ToolResult::Value(_) => {}
                ToolResult::Failed(_) => self.failures.set(self.failures.get() + 1),
                ToolResult::Denied(_) => self.denials.set(self.denials.get() + 1),
            },
            _ => std::process::exit(crate::exit::BAD_PARENT),
        }
        self.open.set(self.open.get() - 1);
        Some(body)
    }

    /// How many tools failed.
    pub(crate) fn tool_failures(&self) -> u32 {
        self.failures.get()
    }
}
