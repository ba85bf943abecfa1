//! How many short processes a second: the dispatcher beside a bare `posix_spawn`, capture and wait in the same run. It
//! does not know what the processes are for.
//!
//! `spawn_bench [TASKS [SLOTS [ROUNDS [COMMAND...]]]]`

#![expect(clippy::print_stdout, reason = "a program that reports on stdout")]

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raddle_engine::attempt::{AttemptKey, AttemptSpec, ProcessWork, Report, Work};
use raddle_engine::ports::Dispatcher;
use raddle_engine::{Attempt, TaskIx};
use raddle_executors::{LocalConfig, LocalDispatcher};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| arguments.get(at).map_or(default, |text| text.parse().expect("a number"));
    let (tasks, slots, rounds) = (number(0, 2000), number(1, 4), number(2, 5));
    let command = if arguments.len() > 3 { arguments[3..].to_vec() } else { vec!["/bin/true".to_owned()] };

    let folder = std::env::temp_dir().join(format!("spawn_bench.{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder for the run");
    let mut dispatcher = LocalDispatcher::new(LocalConfig::default()).expect("a dispatcher");
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let bare = per_second(tasks, || limit(tasks, slots, &command));
        let ours = per_second(tasks, || dispatched(&mut dispatcher, tasks, slots, round, &command, &folder));
        ratios.push(ours / bare);
        println!("bare {bare:.0}/s, dispatcher {ours:.0}/s, ratio {:.3}", ours / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.3}", ratios[ratios.len() / 2]);
    drop(dispatcher);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}

fn per_second(tasks: usize, run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    tasks as f64 / started.elapsed().as_secs_f64()
}

fn dispatched(
    dispatcher: &mut LocalDispatcher,
    tasks: usize,
    slots: usize,
    round: usize,
    command: &[String],
    folder: &Path,
) {
    let run_dir: Arc<Path> = Arc::from(folder);
    let (mut started, mut ended) = (0, 0);
    let mut reports = Vec::new();
    while ended < tasks {
        while started < tasks && started - ended < slots {
            let task_id = format!("t{started}");
            dispatcher.start(AttemptSpec {
                key: AttemptKey { task: TaskIx(started as u32), attempt: Attempt(round as u32 + 1) },
                epoch: 1,
                env: [("RADDLE_RUN_ID", "run"), ("RADDLE_TASK_ID", &task_id), ("RADDLE_ATTEMPT", "1")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec(),
                task_id: task_id.into(),
                work: Work::Process(ProcessWork { argv: command.to_vec(), deps: None }),
                cwd: folder.to_owned(),
                timeout: Duration::from_secs(300),
                idle: None,
                run_dir: run_dir.clone(),
                demands: Default::default(),
            });
            started += 1;
        }
        dispatcher.wait(None, &mut reports);
        for report in reports.drain(..) {
            if let Report::Ended(end) = report {
                end.result.expect("the command succeeds");
                ended += 1;
            }
        }
    }
}

/// The bare limit: `posix_spawn` with both pipes, read when the child has closed them, `waitpid`.
fn limit(tasks: usize, slots: usize, command: &[String]) {
    let argv: Vec<CString> = command.iter().map(|argument| CString::new(argument.as_str()).expect("no NUL")).collect();
    let mut pointers: Vec<*mut libc::c_char> = argv.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    pointers.push(std::ptr::null_mut());
    let mut running: VecDeque<[RawFd; 2]> = VecDeque::new();
    let (mut started, mut ended) = (0, 0);
    while ended < tasks {
        while started < tasks && running.len() < slots {
            running.push_back(spawn(&pointers));
            started += 1;
        }
        drain(&mut running);
        ended += 1;
    }
}

fn spawn(argv: &[*mut libc::c_char]) -> [RawFd; 2] {
    let mut ends = [-1; 2];
    // SAFETY: argv is null-terminated and outlives the call; the file actions are initialised before their use.
    unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        libc::posix_spawn_file_actions_init(&mut actions);
        let mut writers = [-1; 2];
        for stream in 0..2 {
            let mut pipe = [0; 2];
            assert_eq!(libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC), 0);
            (ends[stream], writers[stream]) = (pipe[0], pipe[1]);
            libc::posix_spawn_file_actions_adddup2(&mut actions, pipe[1], stream as i32 + 1);
        }
        let mut pid = 0;
        let environment: [*mut libc::c_char; 1] = [std::ptr::null_mut()];
        let result =
            libc::posix_spawnp(&mut pid, argv[0], &actions, std::ptr::null(), argv.as_ptr(), environment.as_ptr());
        assert_eq!(result, 0);
        libc::posix_spawn_file_actions_destroy(&mut actions);
        for writer in writers {
            libc::close(writer);
        }
    }
    ends
}

/// Reads until one child has closed its pipes, and reaps one.
fn drain(running: &mut VecDeque<[RawFd; 2]>) {
    let mut fds: Vec<libc::pollfd> =
        running.iter().flatten().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    let mut buffer = [0u8; 4096];
    // SAFETY: the descriptors are ours and the buffers are as long as said.
    unsafe {
        let closed = 'closed: loop {
            libc::poll(fds.as_mut_ptr(), fds.len() as u64, -1);
            for (at, polled) in fds.iter().enumerate() {
                if polled.revents & libc::POLLIN != 0 {
                    libc::read(polled.fd, buffer.as_mut_ptr().cast(), buffer.len());
                } else if polled.revents & libc::POLLHUP != 0 {
                    break 'closed at / 2;
                }
            }
        };
        let mut status = 0;
        assert!(libc::waitpid(-1, &mut status, 0) > 0 && status == 0);
        if let Some(ends) = running.remove(closed) {
            for end in ends {
                while libc::read(end, buffer.as_mut_ptr().cast(), buffer.len()) > 0 {}
                libc::close(end);
            }
        }
    }
}
