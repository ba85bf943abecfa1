//! What is kept comes back, whatever it was; what somebody else changed stays; repeating changes nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Bench {
    dir: tempfile::TempDir,
    paths: Vec<String>,
}

impl Bench {
    fn new(paths: &[&str]) -> Bench {
        let bench =
            Bench { dir: tempfile::tempdir().expect("a folder"), paths: paths.iter().map(|p| p.to_string()).collect() };
        fs::create_dir(bench.at("")).expect("a folder to work in");
        bench
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("work").join(path)
    }

    fn write(&self, path: &str, bytes: &[u8], mode: u32) {
        fs::write(self.at(path), bytes).expect("a file");
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).expect("its mode");
    }

    fn is(&self, path: &str, bytes: &[u8], mode: u32) {
        assert_eq!(fs::read(self.at(path)).expect("it is there"), bytes, "{path}");
        let found = fs::metadata(self.at(path)).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!(found, mode, "{path}: {found:o}");
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("run/before/t.0")
    }

    fn images(&self, life: u32) -> Images {
        Images { root: self.at(""), paths: self.paths.clone(), folder: self.folder(), life }
    }

    fn restore(&self) -> Result<(), Failure> {
        restore(&RestoreWork { root: self.at(""), paths: self.paths.clone(), folder: self.folder() })
    }
}

fn said(result: Result<(), Failure>) -> String {
    result.expect_err("it cannot be done").message
}

#[test]
fn files_come_back_with_their_bytes_and_modes() {
    let bench =
        Bench::new(&["made", "deep/er/made", "changed", "removed", "link", "became_link", "only_mode", "untouched"]);
    bench.write("changed", b"old\0\xff", 0o640);
    bench.write("removed", b"was here", 0o755);
    bench.write("became_link", b"plain", 0o600);
    bench.write("only_mode", b"same", 0o444);
    bench.write("untouched", b"left alone", 0o600);
    symlink("nowhere", bench.at("link")).expect("a link");
    take(&bench.images(1)).expect("kept");

    bench.write("made", b"new", 0o644);
    fs::create_dir_all(bench.at("deep/er")).expect("folders");
    bench.write("deep/er/made", b"new", 0o644);
    bench.write("changed", b"new", 0o600);
    fs::remove_file(bench.at("removed")).expect("removed");
    fs::remove_file(bench.at("link")).expect("removed");
    bench.write("link", b"no link", 0o644);
    fs::remove_file(bench.at("became_link")).expect("removed");
    symlink("changed", bench.at("became_link")).expect("a link");
    fs::set_permissions(bench.at("only_mode"), fs::Permissions::from_mode(0o600)).expect("a mode");
    look_after(&bench.images(1)).expect("noted");
    // Somebody goes on with a file that the task left as it was: that is none of its business.
    bench.write("untouched", b"somebody else's", 0o600);

    // Half of it is done already, as after a crash.
    fs::remove_file(bench.at("made")).expect("removed");
    for _ in 0..2 {
        bench.restore().expect("put back");
        assert!(!bench.at("made").exists() && !bench.at("deep").exists());
        bench.is("changed", b"old\0\xff", 0o640);
        bench.is("removed", b"was here", 0o755);
        bench.is("became_link", b"plain", 0o600);
        assert!(fs::symlink_metadata(bench.at("became_link")).expect("there").is_file());
        bench.is("only_mode", b"same", 0o444);
        assert_eq!(fs::read_link(bench.at("link")).expect("a link"), Path::new("nowhere"));
        bench.is("untouched", b"somebody else's", 0o600);
    }
    let left: Vec<_> =
        fs::read_dir(bench.at("")).expect("a folder").filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    assert!(left.iter().all(|name| !name.starts_with(".raddle")), "{left:?}");
}

#[test]
fn a_later_change_of_somebody_else_is_told_and_not_lost() {
    let bench = Bench::new(&["mine", "theirs"]);
    bench.write("mine", b"1", 0o644);
    bench.write("theirs", b"1", 0o644);
    take(&bench.images(1)).expect("kept");
    bench.write("mine", b"2", 0o644);
    bench.write("theirs", b"2", 0o644);
    look_after(&bench.images(1)).expect("noted");
    bench.write("theirs", b"3", 0o644);
    let told = said(bench.restore());
    assert!(told.contains("theirs was changed since by somebody else"), "{told}");
    bench.is("mine", b"1", 0o644);
    bench.is("theirs", b"3", 0o644);
}

#[test]
fn what_an_attempt_in_doubt_left_is_put_aside() {
    let bench = Bench::new(&["file"]);
    bench.write("file", b"before", 0o644);
    take(&bench.images(1)).expect("kept");
    bench.write("file", b"half a resu", 0o644);
    bench.restore().expect("put back");
    bench.is("file", b"before", 0o644);
    let aside = read_list(&bench.folder().join("1.aside")).expect("it was noted");
    let Present::File { digest, .. } = &aside[0].state else { panic!("{aside:?}") };
    assert_eq!(fs::read(blobs_of(&bench.folder()).join(digest)).expect("it was kept"), b"half a resu");
}

fn put_aside_in(bench: &Bench) -> Vec<Vec<u8>> {
    let list = read_list(&bench.folder().join("1.aside")).unwrap_or_default();
    let content = |image: &Image| match &image.state {
        Present::File { digest, .. } => fs::read(blobs_of(&bench.folder()).join(digest)).expect("it was kept"),
        other => panic!("{other:?}"),
    };
    list.iter().map(content).collect()
}

#[test]
fn what_a_person_wrote_between_two_attempts_is_put_aside() {
    let bench = Bench::new(&["file", "other"]);
    bench.write("file", b"before", 0o644);
    take(&bench.images(1)).expect("kept");
    bench.write("file", b"half a resu", 0o644);
    bench.write("file", b"a person's", 0o644);
    for _ in 0..2 {
        take(&bench.images(1)).expect("kept already");
        assert_eq!(put_aside_in(&bench), [b"a person's"]);
    }
    bench.write("file", b"result", 0o644);
    look_after(&bench.images(1)).expect("noted");
    bench.restore().expect("put back");
    bench.is("file", b"before", 0o644);
    assert_eq!(put_aside_in(&bench), [b"a person's"]);
}

#[test]
fn nothing_is_replaced_before_it_is_noted_as_put_aside() {
    let bench = Bench::new(&["file"]);
    bench.write("file", b"before", 0o644);
    take(&bench.images(1)).expect("kept");
    bench.write("file", b"nobody knows whose", 0o644);
    // The list cannot be written.
    let list = bench.folder().join("1.aside");
    fs::create_dir(&list).expect("a folder");
    assert!(said(bench.restore()).contains("cannot be put aside"));
    bench.is("file", b"nobody knows whose", 0o644);
    fs::remove_dir(&list).expect("removed");
    // It was noted, and the engine died before the file was replaced.
    let blob = fs::read_dir(blobs_of(&bench.folder())).expect("blobs").filter_map(Result::ok);
    let before = blob.map(|entry| entry.path()).find(|path| fs::read(path).expect("a blob") == b"before");
    let before = before.expect("it was kept");
    fs::rename(&before, bench.at("away")).expect("moved");
    said(bench.restore());
    assert_eq!(put_aside_in(&bench), [b"nobody knows whose"]);
    fs::rename(bench.at("away"), &before).expect("moved");
    bench.restore().expect("put back");
    bench.is("file", b"before", 0o644);
    assert_eq!(put_aside_in(&bench), [b"nobody knows whose"]);
}

#[test]
fn a_life_has_one_image_and_the_last_life_counts() {
    let bench = Bench::new(&["file"]);
    bench.write("file", b"1", 0o644);
    take(&bench.images(1)).expect("kept");
    // An attempt failed half way and is tried again: the file before the first one is what counts.
    bench.write("file", b"half", 0o644);
    take(&bench.images(1)).expect("kept already");
    look_after(&bench.images(1)).expect("noted");
    bench.restore().expect("put back");
    bench.is("file", b"1", 0o644);
    // Undone, and begun anew on what is there then.
    bench.write("file", b"2", 0o644);
    take(&bench.images(4)).expect("kept");
    bench.write("file", b"3", 0o644);
    look_after(&bench.images(4)).expect("noted");
    bench.restore().expect("put back");
    bench.is("file", b"2", 0o644);
}

#[test]
fn nothing_outside_of_the_folder_is_kept_or_put_back() {
    let bench = Bench::new(&["way/file"]);
    fs::create_dir(bench.dir.path().join("outside")).expect("a folder");
    symlink("../outside", bench.at("way")).expect("a link");
    assert!(said(take(&bench.images(1))).contains("is a link or no folder"));
    // It was a folder when the file was kept, and is a link when it is put back.
    fs::remove_file(bench.at("way")).expect("removed");
    fs::create_dir(bench.at("way")).expect("a folder");
    bench.write("way/file", b"1", 0o644);
    take(&bench.images(1)).expect("kept");
    look_after(&bench.images(1)).expect("noted");
    fs::rename(bench.at("way"), bench.at("real")).expect("moved");
    symlink("../outside", bench.at("way")).expect("a link");
    fs::write(bench.dir.path().join("outside/file"), b"theirs").expect("a file");
    assert!(said(bench.restore()).contains("is a link or no folder"));
    assert_eq!(fs::read(bench.dir.path().join("outside/file")).expect("there"), b"theirs");
    let bench = Bench::new(&["folder"]);
    fs::create_dir(bench.at("folder")).expect("a folder");
    assert!(said(take(&bench.images(1))).contains("it is a folder"));
}

#[test]
fn what_was_damaged_is_not_put_back() {
    let bench = Bench::new(&["file"]);
    bench.write("file", b"before", 0o644);
    take(&bench.images(1)).expect("kept");
    let blob = fs::read_dir(blobs_of(&bench.folder())).expect("blobs").next().expect("one").expect("an entry").path();
    bench.write("file", b"after", 0o644);
    look_after(&bench.images(1)).expect("noted");
    fs::write(blob, b"something else").expect("damaged");
    assert!(said(bench.restore()).contains("damaged"));
    bench.is("file", b"after", 0o644);
    fs::remove_dir_all(bench.folder()).expect("removed");
    assert!(said(bench.restore()).contains("nothing was kept"));
}
