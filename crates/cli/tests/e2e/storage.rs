//! Disks that are full, read-only or broken, and descriptors that are used up, under the real program: the run pauses and says why,
//! nothing that was told is lost, and it goes on by itself when the fault is gone.
//!
//! Room really runs out (a small tmpfs in a mount namespace of its own); what a kernel cannot be asked for is said by a library that is loaded before libc and fails the calls that a file names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::place::{Live, Place, until};
use crate::processes;

/// Six tasks in a row whose outputs are files of their own, each of which waits for a word.
fn chain() -> String {
    let mut text = String::from("tasks:\n");
    for n in 0..6 {
        let before = if n == 0 { String::new() } else { format!("t{}", n - 1) };
        text += &format!(
            "  - {{ id: t{n}, depends_on: [{before}], on_doubt: rerun, run: 'echo {n} >> log; until [ -e go{n} ]; do \
             sleep 0.01; done; head -c 9000 /dev/zero | tr \"\\\\0\" {n}' }}\n"
        );
    }
    text
}

fn let_go(place: &Place, tasks: std::ops::Range<usize>) {
    tasks.for_each(|n| drop(place.file(&format!("go{n}"), "")));
}

/// Everything is there that ought to be, once.
fn is_whole(place: &Place, document: &Value) {
    assert_eq!(document["outcome"], "succeeded");
    assert_eq!(document["outputs"]["t5"], json!("5".repeat(9000)));
    assert_eq!(place.text("log"), "0\n1\n2\n3\n4\n5\n", "each ran once, in order");
    let run = document["run"].as_str().expect("a name");
    let written: Vec<Value> =
        place.text("events").lines().map(|l| serde_json::from_str(l).expect("no line is torn")).collect();
    let events = place.events(run);
    assert_eq!(written, events, "--events tells what the journal holds");
    assert!(events.iter().any(|e| e["type"] == "storage_recovered"), "{events:?}");
    for n in 0..6 {
        assert_eq!(document["tasks"][format!("t{n}")]["output"], json!(n.to_string().repeat(9000)));
        assert_eq!(document["tasks"][format!("t{n}")]["attempts"], 1);
    }
}

/// A command that cannot be had here; the test says so and is over.
fn has(program: &str, words: &[&str]) -> bool {
    let found = Command::new(program).args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = found.is_ok_and(|status| status.success());
    if !there {
        println!("SKIPPED: {program} {words:?} does not work here");
    }
    there
}

/// A mount namespace with a small disk where the state is kept.
struct SmallDisk {
    holder: Live,
}

impl SmallDisk {
    fn new(place: &Place, size: &str) -> SmallDisk {
        let state = place.root().join("state");
        fs::create_dir_all(&state).expect("a folder can be made");
        let script =
            format!("mount -t tmpfs -o size={size} tmpfs '{}' && echo ready && exec sleep 600", state.display());
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).env("HOLDS", place.root()).stdin(Stdio::null());
        let holder = place.start_command(command);
        until("the disk is mounted", || holder.out() == "ready\n");
        SmallDisk { holder }
    }

    fn command(&self, place: &Place, words: &[&str]) -> Command {
        let plain = place.command(words);
        let mut command = Command::new("nsenter");
        command
            .arg("--mount")
            .arg(format!("--target={}", self.holder.pid()))
            .arg(format!("--wdns={}", place.work("").display()));
        command.arg(plain.get_program()).args(plain.get_args()).env_clear().stdin(Stdio::null());
        command.envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
        command
    }

    /// A path on the disk, from outside.
    fn path(&self, place: &Place, name: &str) -> PathBuf {
        let inside = place.root().join("state").join(name);
        Path::new("/proc")
            .join(self.holder.pid().to_string())
            .join("root")
            .join(inside.strip_prefix("/").expect("absolute"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        processes::signal(self.holder.pid(), Signal::KILL);
        let _ = self.holder.child.wait();
    }
}

#[test]
fn a_disk_without_room_pauses_the_run_until_there_is_room() {
    if !has("unshare", &["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]) || !has("nsenter", &["--version"]) {
        return;
    }
    let place = Place::new();
    place.file("wf.yaml", chain());
    let disk = SmallDisk::new(&place, "2m");
    let events = place.root().join("state/events");
    let events = events.to_str().expect("plain names");
    let live = place.start_command(disk.command(&place, &["run", "wf.yaml", "--json", "--events", events]));
    until("the first task is at work", || place.text("log") == "0\n");
    fill(&disk.path(&place, "ballast"));
    let_go(&place, 0..1);
    until("the run pauses", || live.err().contains("nothing can be recorded"));
    assert!(live.err().contains("No space left on device") || live.err().contains("disk is full"), "{}", live.err());
    let ps = place.start_command(disk.command(&place, &["ps", "--json"])).ended().exits(0).json();
    assert_eq!((&ps[0]["live"], &ps[0]["outcome"]), (&json!(true), &json!("running")), "{ps}");
    assert!(ps[0]["reason"].as_str().is_some_and(|why| why.starts_with("paused: ")), "{ps}");
    let why = place.start_command(disk.command(&place, &["why", "last", "t1"])).ended().exits(0).out;
    assert!(why.contains("can record nothing") || why.contains("waits for t0"), "{why}");
    assert_eq!(place.text("log"), "0\n", "nothing starts");
    fs::remove_file(disk.path(&place, "ballast")).expect("the ballast is there");
    let_go(&place, 1..6);
    let document = live.ended().exits(0).json();
    fs::copy(disk.path(&place, "events"), place.work("events")).expect("the events are there");
    fs::create_dir_all(place.root().join("kept")).expect("a folder can be made");
    // The journal as it is on that disk, where the other commands can read it.
    let copied = Command::new("cp").arg("-aT").arg(disk.path(&place, "")).arg(place.root().join("kept")).status();
    assert!(copied.expect("cp is there").success());
    drop(disk);
    fs::remove_dir(place.root().join("state")).expect("the mount point is empty");
    fs::rename(place.root().join("kept"), place.root().join("state")).expect("a folder can be moved");
    is_whole(&place, &document);
}

/// Leaves no byte of room.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("a name finds room");
    for size in [65536, 4096, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

/// Fails calls on files of a run whose path holds a word, as long as a file says so: `CALL ERRNO WORD`.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static int fails(const char *call, const char *path) {
    char text[200], name[32], word[64];
    int number;
    const char *control = getenv("RADDLE_TEST_FAULT");
    if (!control) return 0;
    int (*really)(const char *, int, ...) = dlsym(RTLD_NEXT, "open64");
    int fd = really(control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t (*get)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
    ssize_t n = get(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return 0;
    text[n] = 0;
    if (sscanf(text, "%31s %d %63s", name, &number, word) != 3) return 0;
    if (strcmp(name, call) || !strstr(path, word)) return 0;
    errno = number;
    return 1;
}
static int fails_fd(const char *call, int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return fails(call, path);
}
#define REAL(type, name) static type real; if (!real) real = dlsym(RTLD_NEXT, name)
int fsync(int fd) { REAL(int (*)(int), "fsync"); return fails_fd("sync", fd) ? -1 : real(fd); }
int fdatasync(int fd) { REAL(int (*)(int), "fdatasync"); return fails_fd("sync", fd) ? -1 : real(fd); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) {
    REAL(ssize_t (*)(int, const void *, size_t, off64_t), "pwrite64");
    return fails_fd("write", fd) ? -1 : real(fd, b, n, o);
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { return pwrite64(fd, b, n, o); }
ssize_t write(int fd, const void *b, size_t n) {
    REAL(ssize_t (*)(int, const void *, size_t), "write");
    return fails_fd("write", fd) ? -1 : real(fd, b, n);
}
int open64(const char *path, int flags, ...) {
    REAL(int (*)(const char *, int, ...), "open64");
    va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more);
    return fails("open", path) ? -1 : real(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more);
    return open64(path, flags, mode);
}
"#;

struct Shim {
    folder: tempfile::TempDir,
}

impl Shim {
    fn built() -> Option<Shim> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let source = folder.path().join("shim.c");
        fs::write(&source, SHIM).expect("a file can be written");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.path().join("shim.so")).arg(&source).arg("-ldl");
        let compiled = cc.output();
        if compiled.as_ref().is_ok_and(|made| made.status.success()) {
            return Some(Shim { folder });
        }
        println!("SKIPPED: no compiler for the library that fails calls: {compiled:?}");
        None
    }

    /// Has the commands of that place look at a file for what is to fail; its path.
    fn look_at(&self, place: &mut Place) -> PathBuf {
        let control = place.root().join("fault");
        let text = |path: &Path| path.to_str().expect("temporary folders have plain names").to_owned();
        place.variable("LD_PRELOAD", text(&self.folder.path().join("shim.so")));
        place.variable("RADDLE_TEST_FAULT", text(&control));
        control
    }
}

#[test]
fn a_disk_that_fails_pauses_the_run_and_no_cache_is_trusted() {
    let Some(shim) = Shim::built() else { return };
    let (eio, enospc, erofs, emfile) = (libc::EIO, libc::ENOSPC, libc::EROFS, libc::EMFILE);
    for (fault, words) in [
        (format!("sync {eio} journal.db"), "disk I/O error"),
        (format!("write {eio} journal.db"), "disk I/O error"),
        (format!("write {enospc} journal.db-wal"), "full"),
        (format!("sync {eio} outputs"), "Input/output error"),
        (format!("open {erofs} outputs"), "Read-only file system"),
        (format!("open {emfile} outputs"), "Too many open files"),
    ] {
        println!("{fault}");
        let mut place = Place::new();
        let control = shim.look_at(&mut place);
        place.file("wf.yaml", chain());
        let live = place.start(&["run", "wf.yaml", "--json", "--events", "events"]);
        let_go(&place, 0..2);
        until("the third task is at work", || place.text("log") == "0\n1\n2\n");
        fs::write(&control, &fault).expect("a file can be written");
        let_go(&place, 2..3);
        until("the run pauses", || live.err().contains("nothing can be recorded"));
        assert!(live.err().contains(words), "{fault}: {}", live.err());
        assert_eq!(place.text("log"), "0\n1\n2\n", "{fault}: nothing starts");
        fs::remove_file(&control).expect("the fault is there");
        let_go(&place, 3..6);
        let document = live.ended().exits(0).json();
        is_whole(&place, &document);
    }
}

#[test]
fn who_does_not_want_to_wait_for_a_disk_leaves_a_run_that_can_be_resumed() {
    let Some(shim) = Shim::built() else { return };
    let mut place = Place::new();
    let control = shim.look_at(&mut place);
    place.file("wf.yaml", chain());
    let live = place.start(&["run", "wf.yaml", "--no-wait"]);
    until("the first task is at work", || place.text("log") == "0\n");
    fs::write(&control, format!("write {} journal.db", libc::EIO)).expect("a file can be written");
    let_go(&place, 0..6);
    let ended = live.ended().exits(1);
    assert!(ended.err.contains("disk I/O error") && ended.err.contains("raddle resume"), "{}", ended.err);
    fs::remove_file(&control).expect("the fault is there");
    let document = place.raddle(&["resume", "last", "--json"]).exits(0).json();
    assert_eq!((&document["outcome"], &document["tasks"]["t0"]["attempts"]), (&json!("succeeded"), &json!(2)));
}

/// Ctrl-C while nothing can be recorded: it ends, nothing is left, and what is on record is what was told.
#[test]
fn an_interrupt_while_the_disk_is_away_is_heard() {
    let Some(shim) = Shim::built() else { return };
    let mut place = Place::new();
    let control = shim.look_at(&mut place);
    place.file("wf.yaml", chain());
    let live = place.start(&["run", "wf.yaml"]);
    until("the first task is at work", || place.text("log") == "0\n");
    fs::write(&control, format!("sync {} journal.db", libc::EIO)).expect("a file can be written");
    let_go(&place, 0..1);
    until("the run pauses", || live.err().contains("nothing can be recorded"));
    processes::signal(live.pid(), Signal::INT);
    let ended = live.ended().exits(130);
    assert!(ended.err.contains("what became of 1 attempt is known to nobody"), "{}", ended.err);
    fs::remove_file(&control).expect("the fault is there");
    let_go(&place, 1..6);
    let document = place.raddle(&["resume", "last", "--json"]).exits(0).json();
    assert_eq!((&document["outcome"], &document["tasks"]["t0"]["attempts"]), (&json!("succeeded"), &json!(2)));
}
