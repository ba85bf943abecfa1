//! Reading through the broker, and what is refused: each refusal once, with action, resource and rule.

use raddle_sandbox::FailureKind;
use serde_json::json;

use crate::Sandbox;

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("in/sub")).unwrap();
    for (name, text) in
        [("in/a.txt", "ALPHA-1 ü"), ("in/sub/b.txt", "BETA-2"), ("d.txt", "DELTA-4"), ("e.txt", "SECRET-5")]
    {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    std::os::unix::fs::symlink("../e.txt", dir.path().join("in/link")).unwrap();
    dir
}

#[test]
fn allowed_files_can_be_read_in_the_usual_ways() {
    let dir = tree();
    let mut sandbox = Sandbox::reading(dir.path(), &["in", "d.txt"]);
    let context = json!({"path": dir.path().join("in/a.txt")}).to_string();
    for code in [
        "return await readTextFile(path)",
        "return await Deno.readTextFile(path)",
        "return Deno.readTextFileSync(path)",
        "return fs.readFileSync(path, 'utf8')",
        "return await fs.promises.readFile(path, {encoding: 'utf8'})",
        "return new TextDecoder().decode(Deno.readFileSync(path))",
        "return new TextDecoder().decode(await Deno.readFile(path))",
        "return (await Promise.all([readTextFile(path), readTextFile('d.txt')]))[0]",
    ] {
        assert_eq!(sandbox.value_with(code, "{}", &context), json!("ALPHA-1 ü"), "{code}");
    }
    assert_eq!(sandbox.value("return await readTextFile('in/sub/b.txt')"), json!("BETA-2"));
}

#[test]
fn all_else_is_refused_once_and_audited() {
    let dir = tree();
    let mut sandbox = Sandbox::reading(dir.path(), &["in", "d.txt"]);
    for path in [
        "e.txt",
        "in/../e.txt",
        "in/link",
        "/etc/passwd",
        "/proc/self/environ",
        "/proc/1/cmdline",
        "../../etc/hostname",
    ] {
        let outcome = sandbox.run(&format!("return await readTextFile({path:?})"));
        let (kind, message) = outcome.result.expect_err(path);
        assert_eq!(kind, FailureKind::Permission, "{message}");
        assert!(message.starts_with("PermissionDenied: ") && !message.contains("SECRET"), "{message}");
        let [denial] = outcome.denials.as_slice() else { panic!("{path}: {:?}", outcome.denials) };
        assert_eq!((denial.action, denial.resource.as_str()), ("read", path));
        assert!(!denial.rule.is_empty());
    }
}

#[test]
fn without_allowed_paths_every_read_is_refused_by_rule() {
    let mut sandbox = Sandbox::default();
    let outcome = sandbox.run("return readTextFile('/etc/hostname')");
    assert_eq!(outcome.result.unwrap_err().0, FailureKind::Permission);
    assert_eq!(outcome.denials.len(), 1);
    // Code that goes on after a refusal did not fail by it.
    let outcome = sandbox.run("try { await readTextFile('/etc/hostname') } catch (e) { return e.name }");
    assert_eq!(outcome.result, Ok("\"PermissionDenied\"".to_owned()));
    assert_eq!(outcome.denials.len(), 1);
}

#[test]
fn writing_and_connecting_are_refused_and_audited() {
    let dir = tree();
    let mut sandbox = Sandbox::reading(dir.path(), &["in"]);
    for (code, action, resource) in [
        ("await writeTextFile('in/a.txt', 'pwned')", "write", "in/a.txt"),
        ("Deno.writeTextFileSync('in/new.txt', 'pwned')", "write", "in/new.txt"),
        ("fs.writeFileSync('in/a.txt', 'pwned')", "write", "in/a.txt"),
        ("await fetch('http://127.0.0.1:1/')", "connect", "http://127.0.0.1:1/"),
    ] {
        let outcome = sandbox.run(code);
        assert_eq!(outcome.result.unwrap_err().0, FailureKind::Permission, "{code}");
        let [denial] = outcome.denials.as_slice() else { panic!("{code}: {:?}", outcome.denials) };
        assert_eq!((denial.action, denial.resource.as_str()), (action, resource));
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("in/a.txt")).unwrap(), "ALPHA-1 ü");
    assert!(!dir.path().join("in/new.txt").exists());
}

#[test]
fn missing_files_are_plain_errors() {
    let dir = tree();
    let mut sandbox = Sandbox::reading(dir.path(), &["in"]);
    let outcome = sandbox.run("return await readTextFile('in/none.txt')");
    let (kind, message) = outcome.result.unwrap_err();
    assert_eq!(kind, FailureKind::Logic);
    assert!(message.contains("in/none.txt") && outcome.denials.is_empty(), "{message}");
}

#[test]
fn endless_trying_is_ended() {
    let mut sandbox = Sandbox::default();
    for attempt in ["await readTextFile('/etc/passwd')", "await fetch('http://x')"] {
        let outcome = sandbox.run(&format!("for (;;) {{ try {{ {attempt} }} catch {{}} }}"));
        assert_eq!(outcome.result.unwrap_err().0, FailureKind::Permission);
        assert_eq!(outcome.denials.len(), 100);
    }
    assert_eq!(sandbox.value("return 1"), json!(1));
}

#[test]
fn scratch_files_live_in_memory_and_end_with_the_call() {
    let mut sandbox = Sandbox::default();
    let code = "Deno.writeTextFileSync('/scratch/x', 'ü'); fs.writeFileSync('/scratch/y', new Uint8Array([1, 2]));
        return [await readTextFile('/scratch/x'), [...Deno.readFileSync('/scratch/y')]]";
    assert_eq!(sandbox.value(code), json!(["ü", [1, 2]]));
    assert!(sandbox.run("return await readTextFile('/scratch/x')").result.is_err());
    assert!(sandbox.run("await writeTextFile('/scratch', '')").result.is_err());
    let (kind, message) =
        sandbox.failure("for (let i = 0; ; i++) await writeTextFile('/scratch/' + i, 'x'.repeat(1 << 20))");
    assert_eq!(kind, FailureKind::Oom, "{message}");
    assert!(!std::path::Path::new("/scratch").exists());
}

#[test]
fn large_files_count_against_the_memory() {
    let dir = tree();
    std::fs::write(dir.path().join("in/large.txt"), vec![b'x'; 24 << 20]).unwrap();
    std::fs::write(dir.path().join("in/larger.txt"), vec![b'x'; 60 << 20]).unwrap();
    let mut sandbox = Sandbox::reading(dir.path(), &["in"]);
    assert_eq!(sandbox.value("return (await readTextFile('in/large.txt')).length"), json!(24 << 20));
    assert_eq!(sandbox.value("return Deno.readFileSync('in/large.txt').length"), json!(24 << 20));
    let outcome =
        sandbox.run("return (await readTextFile('in/larger.txt') + Deno.readFileSync('in/larger.txt')).length");
    assert_eq!(outcome.result.unwrap_err().0, FailureKind::Oom);
}
