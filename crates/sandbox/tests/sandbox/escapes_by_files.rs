//! Ways to a file that is not allowed, through paths that are: links, dots, devices, pipes, the kernel's own file
//! systems, names that change while they are looked at. The control of all of them is the file beside, which is read.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::json;

use crate::Sandbox;

fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    std::fs::create_dir_all(at("in/sub")).unwrap();
    std::fs::create_dir_all(at("in2")).unwrap();
    for (name, text) in
        [("in/a.txt", "ALPHA"), ("in/sub/b.txt", "BETA"), ("secret.txt", "SECRET"), ("in2/c.txt", "SECRET")]
    {
        std::fs::write(at(name), text).unwrap();
    }
    for (from, to) in [
        ("../secret.txt", "in/up"),
        ("/etc/passwd", "in/absolute"),
        ("/etc", "in/folder"),
        ("..", "in/parent"),
        ("up", "in/twice"),
        ("loop", "in/loop"),
        ("/proc/self/environ", "in/environ"),
        ("/proc/self/root/etc/passwd", "in/root"),
        ("/proc/self/cwd", "in/cwd"),
        ("/dev/fd/0", "in/stdin"),
        ("sub/../../secret.txt", "in/sneaky"),
    ] {
        symlink(from, at(to)).unwrap();
    }
    for (name, kind, device) in [
        ("in/fifo", rustix::fs::FileType::Fifo, 0),
        ("in/zero", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 5)),
    ] {
        // Devices need privileges; without them the file is missing, which is refused as well.
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let _ = rustix::fs::mknodat(rustix::fs::CWD, at(name), kind, mode, device);
    }
    let _listener = UnixListener::bind(at("in/socket")).unwrap();
    dir
}

#[test]
fn no_path_leads_to_what_is_not_allowed() {
    let dir = place();
    let root = dir.path().to_str().unwrap();
    let mut sandbox = Sandbox::reading(dir.path(), &["in"]);
    let absolute = |path: &str| format!("{root}/{path}");
    let mut paths: Vec<String> = [
        "in/up",
        "in/absolute",
        "in/folder/passwd",
        "in/parent/secret.txt",
        "in/twice",
        "in/loop",
        "in/environ",
        "in/root",
        "in/cwd/secret.txt",
        "in/stdin",
        "in/sneaky",
        "in/fifo",
        "in/zero",
        "in/socket",
        "in",
        "in/sub",
        "in/",
        "in/.",
        "secret.txt",
        "./secret.txt",
        "in/../secret.txt",
        "in/sub/../../secret.txt",
        "in//../secret.txt",
        "in2/c.txt",
        "in/../in2/c.txt",
        "in/a.txt/../../secret.txt",
        "in/%2e%2e/secret.txt",
        "in\\..\\secret.txt",
        "in/..\u{2215}secret.txt",
        "in/\u{ff0e}\u{ff0e}/secret.txt",
        "IN/a.txt",
        "~/secret.txt",
        "$HOME/x",
        "in/*",
        "in/a.txt\0",
        "",
        "/",
        "/etc/passwd",
        "//etc/passwd",
        "/proc/self/environ",
        "/proc/self/fd/0",
        "/proc/1/root/etc/passwd",
        "/dev/stdin",
        "/dev/mem",
        "/sys/kernel/notes",
        "/scratch/../etc/passwd",
        "/scratch",
        "file:///etc/passwd",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.extend(["in/up", "in/../secret.txt", "secret.txt", "in2/c.txt"].map(absolute));
    paths.push(format!("in/{}a.txt", "sub/../".repeat(1000)));
    assert!(paths.len() >= 50);
    let read = "const out = []; for (const p of paths) { try { out.push([p, await readTextFile(p)]) } catch (e) { if (!(e instanceof Error)) throw e } } return out";
    for some in paths.chunks(20) {
        let context = json!({"paths": some}).to_string();
        assert_eq!(sandbox.value_with(read, "{}", &context), json!([]));
    }
    let control = json!({"paths": ["in/a.txt", "in/sub/b.txt", absolute("in/a.txt")]}).to_string();
    let contents = sandbox.value_with(read, "{}", &control);
    assert_eq!(contents.as_array().map(Vec::len), Some(3), "{contents}");
}

#[test]
fn a_name_that_changes_while_it_is_looked_at_is_judged_as_it_is_used() {
    let dir = place();
    let mut sandbox = Sandbox::reading(dir.path(), &["in"]);
    for code in [
        "let n = 0; return await readTextFile({ toString() { return n++ ? 'secret.txt' : 'in/a.txt' } })",
        "let n = 0; return await readTextFile({ toString() { return n++ ? 'secret.txt' : '/scratch/x' } })",
        "let n = 0; return fs.readFileSync({ [Symbol.toPrimitive]: () => (n++ ? 'secret.txt' : 'in/a.txt') }, 'utf8')",
        "String.prototype.startsWith = () => true; return Deno.writeTextFileSync('in/a.txt', 'x')",
        "return await readTextFile(new Proxy({}, { get: () => () => 'secret.txt' }))",
    ] {
        assert!(sandbox.run(code).result.is_err(), "{code}");
    }
    let control = "return await readTextFile({ toString() { return 'in/a.txt' } })";
    assert_eq!(sandbox.value(control), json!("ALPHA"));
    assert_eq!(std::fs::read_to_string(dir.path().join("in/a.txt")).unwrap(), "ALPHA");
}

#[test]
fn allowing_the_kernels_file_systems_does_not_open_the_engine() {
    // The parent reads for the code, so `self` would be the engine, environment and all.
    for allowed in ["/proc", "/proc/self", "/proc/thread-self", "/proc/self/environ", "/proc/self/maps", "/dev/fd"] {
        let mut sandbox = Sandbox::reading(Path::new("/"), &[allowed]);
        let read = "const out = []; for (const p of ['/proc/self/environ', '/proc/thread-self/environ', '/proc/self/maps', '/proc/self/fd/0', '/proc/self/cmdline', '/dev/fd/0']) { try { out.push(await readTextFile(p)) } catch {} } return out";
        assert_eq!(sandbox.value(read), json!([]), "{allowed}");
    }
    let mut sandbox = Sandbox::reading(Path::new("/"), &["/proc/version"]);
    assert!(sandbox.value("return await readTextFile('/proc/version')").as_str().is_some_and(|t| t.contains("Linux")));
}

#[test]
fn special_files_that_are_allowed_themselves_are_no_files() {
    let dir = place();
    let mut sandbox =
        Sandbox::reading(dir.path(), &["in/fifo", "in/socket", "/dev/zero", "/dev/random", "/dev/tty", "/dev/stdin"]);
    for path in ["in/fifo", "in/socket", "/dev/zero", "/dev/random", "/dev/tty", "/dev/stdin"] {
        let context = json!({"p": path}).to_string();
        let outcome = sandbox.call("return await readTextFile(p)", "{}", &context, std::time::Duration::from_secs(5));
        assert!(outcome.result.is_err(), "{path}");
    }
}

#[test]
fn a_hard_link_in_an_allowed_folder_is_a_file_of_it() {
    // It is the same file under a name that the person has opened, and code cannot make links.
    let dir = place();
    std::fs::hard_link(dir.path().join("secret.txt"), dir.path().join("in/hard")).unwrap();
    let mut sandbox = Sandbox::reading(dir.path(), &["in"]);
    assert_eq!(sandbox.value("return await readTextFile('in/hard')"), json!("SECRET"));
    for make in [
        "Deno.linkSync('secret.txt', 'in/x')",
        "Deno.symlinkSync('secret.txt', 'in/x')",
        "fs.linkSync('secret.txt', 'in/x')",
    ] {
        assert!(sandbox.run(&format!("return {make}")).result.is_err(), "{make}");
    }
}
