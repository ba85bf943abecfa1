//! Drives an MCP client over the pipes of a stdio server, single-threaded, with `poll`: how many calls a second. It
//! does not know what the tool does.
//!
//! `mcp_calls CALLS IN_FLIGHT TOOL ARGUMENTS_JSON SERVER_COMMAND...`

#![expect(clippy::print_stdout, reason = "a program that reports on stdout")]

use std::error::Error;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use raddle_executors::mcp::{Client, Config, Event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

fn main() -> Result<(), Box<dyn Error>> {
    let argv: Vec<String> = std::env::args().skip(1).collect();
    let [calls, in_flight, tool, arguments, program, rest @ ..] = &argv[..] else {
        return Err("usage: mcp_calls CALLS IN_FLIGHT TOOL ARGUMENTS_JSON SERVER_COMMAND...".into());
    };
    let (calls, in_flight): (u64, u64) = (calls.parse()?, in_flight.parse()?);
    let arguments: serde_json::Value = serde_json::from_str(arguments)?;

    let started = Instant::now();
    let mut child =
        Command::new(program).args(rest).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdin = child.stdin.take().ok_or("no stdin")?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    rustix::io::ioctl_fionbio(&stdin, true)?;
    rustix::io::ioctl_fionbio(&stdout, true)?;

    let mut client = Client::new(Config::default(), started);
    let mut buffer = vec![0; 64 << 10];
    let (mut asked, mut answered, mut failed) = (0, 0, 0);
    let mut ready: Option<Instant> = None;
    loop {
        while let Some(event) = client.next_event() {
            match event {
                Event::Ready => ready = Some(Instant::now()),
                Event::Result { outcome, .. } => {
                    answered += 1;
                    if let Err(failure) = outcome {
                        failed += 1;
                        if failed == 1 {
                            println!("first failure: {} {}", failure.class.name(), failure.message);
                        }
                    }
                }
                Event::Fatal(why) => return Err(why.into()),
                Event::Progress { .. } | Event::Log(_) => {}
            }
        }
        if answered == calls {
            break;
        }
        if client.is_dead() {
            return Err("the server ended".into());
        }
        if ready.is_some() && asked < calls && asked - answered < in_flight {
            client.call(asked, tool, &arguments, "example");
            asked += 1;
            // A call that is refused is over at once.
            continue;
        }
        while !client.outgoing().is_empty() {
            match rustix::io::write(&stdin, client.outgoing()) {
                Ok(n) => client.sent(n),
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let writable = if client.outgoing().is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let mut fds = [
            PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stdin.as_fd(), writable),
        ];
        let timeout: Option<Timespec> = match client.deadline() {
            Some(at) => Some(at.saturating_duration_since(Instant::now()).try_into()?),
            None => None,
        };
        if poll(&mut fds, timeout.as_ref())? == 0 {
            client.tick(Instant::now());
        }
        if !fds[0].revents().is_empty() {
            match rustix::io::read(&stdout, &mut buffer[..]) {
                Ok(0) => client.closed("the server closed its stdout"),
                Ok(n) => client.feed(&buffer[..n]),
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let ready = ready.ok_or("never ready")?;
    let run = ready.elapsed().as_secs_f64();
    println!(
        "{{\"calls\":{calls},\"failed\":{failed},\"protocol\":\"{:?}\",\"connect_s\":{:.4},\"run_s\":{run:.4},\"calls_per_s\":{:.0}}}",
        client.protocol(),
        ready.duration_since(started).as_secs_f64(),
        calls as f64 / run
    );
    drop(stdin);
    child.wait()?;
    Ok(())
}
