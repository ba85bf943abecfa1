//! Files as they were before a task: kept durably before it starts, put back when it is undone. Knows no runs and no
//! sagas. Nothing is lost: what somebody else changed since is left as it is and told, and what nobody can judge is put
//! aside before it is replaced.
//!
//! ```text
//! before/blobs/DIGEST        contents, by their BLAKE3 digest
//! before/TASK.HASH/1.json    the files before attempt 1, which began the task's life
//! before/TASK.HASH/1.after   the files when it had succeeded
//! before/TASK.HASH/1.aside   the files that were or could be replaced although nobody knows who wrote them
//! ```

mod desk;
mod file;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{Failure, Images, RestoreWork};
use serde::{Deserialize, Serialize};

pub(crate) use desk::ImageDesk;
use file::{Present, Root};

/// Contents that are kept for one task, all its files together.
const MAX_BYTES: u64 = 256 << 20;

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Image {
    path: String,
    state: Present,
    /// Folders above it that were missing as well, the outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    missing_above: Vec<String>,
}

/// Keeps the files as they are. What this life of the task began with is kept once; before later attempts, what differs
/// from that is put aside, for a person may have written it between two of them. Durable when it returns.
fn take(order: &Images) -> Result<(), Failure> {
    let list = order.folder.join(format!("{}.json", order.life));
    if list.exists() {
        return keep_between(order, &list);
    }
    let cannot = |what: String| Failure::new(FailureClass::Input, format!("`compensate: restore` {what}"));
    let broken = |e: io::Error| {
        Failure::new(FailureClass::Start, format!("cannot keep files in {}: {e}", order.folder.display()))
    };
    let blobs = blobs_of(&order.folder);
    make_folder(&order.folder).map_err(broken)?;
    make_folder(&blobs).map_err(broken)?;
    let root =
        Root::open(&order.root).map_err(|e| cannot(format!("cannot look into {}: {e}", order.root.display())))?;
    let (mut images, mut bytes) = (Vec::with_capacity(order.paths.len()), 0);
    for path in &order.paths {
        let left = MAX_BYTES - bytes;
        let (state, missing_above) =
            root.look(path, Some((&blobs, left))).map_err(|e| cannot(format!("cannot keep {path:?}: {e}")))?;
        match state {
            Present::Other { ref what } => return Err(cannot(format!("cannot keep {path:?}: it is {what}"))),
            Present::File { bytes: size, .. } if size > left => {
                return Err(cannot(format!(
                    "keeps at most {} MB, and {path:?} is too large for that",
                    MAX_BYTES >> 20
                )));
            }
            Present::File { bytes: size, .. } => bytes += size,
            _ => {}
        }
        images.push(Image { path: path.clone(), state, missing_above });
    }
    sync_folder(&blobs).map_err(broken)?;
    write_list(&list, &images).map_err(broken)
}

/// What is too large to be kept with the rest is the task's own work far more often than a person's, and may be
/// replaced: the attempt begins all the same.
fn keep_between(order: &Images, list: &Path) -> Result<(), Failure> {
    let cannot = |what: String| Failure::new(FailureClass::Input, format!("`compensate: restore` cannot keep {what}"));
    let broken = |e: io::Error| {
        Failure::new(FailureClass::Start, format!("cannot keep files in {}: {e}", order.folder.display()))
    };
    let before = read_list(list).map_err(broken)?;
    let aside = aside_of(&order.folder, order.life);
    let kept = read_aside(&aside).map_err(broken)?;
    let blobs = blobs_of(&order.folder);
    let root = Root::open(&order.root).map_err(|e| cannot(format!("files in {}: {e}", order.root.display())))?;
    let mut left = kept.iter().fold(MAX_BYTES, |left, image| left.saturating_sub(image.state.bytes()));
    let mut fresh = Vec::new();
    for image in &before {
        let path = &image.path;
        let told = |e| cannot(format!("{path:?}: {e}"));
        let (now, _) = root.look(path, None).map_err(told)?;
        let is_kept = |now: &Present| kept.iter().any(|image| image.path == *path && image.state == *now);
        if matches!(now, Present::Missing | Present::Other { .. }) || now == image.state || is_kept(&now) {
            continue;
        }
        let (state, missing_above) = root.look(path, Some((&blobs, left))).map_err(told)?;
        if state.bytes() <= left {
            left -= state.bytes();
            fresh.push(Image { path: path.clone(), state, missing_above });
        }
    }
    put_aside(&aside, &blobs, fresh).map_err(broken)
}

/// Notes what the task left, by which later changes of others are known.
fn look_after(order: &Images) -> Result<(), Failure> {
    let broken = |what: &dyn std::fmt::Display| {
        Failure::new(FailureClass::Output, format!("what it wrote cannot be noted, so it could not be undone: {what}"))
    };
    let root = Root::open(&order.root).map_err(|e| broken(&e))?;
    let mut images = Vec::with_capacity(order.paths.len());
    for path in &order.paths {
        let (state, missing_above) = root.look(path, None).map_err(|e| broken(&format!("{path:?}: {e}")))?;
        images.push(Image { path: path.clone(), state, missing_above });
    }
    write_list(&order.folder.join(format!("{}.after", order.life)), &images).map_err(|e| broken(&e))
}

/// Puts the files back. Can be repeated: a file that is as it was before is left alone.
fn restore(work: &RestoreWork) -> Result<(), Failure> {
    let cannot = |what: String| Failure::new(FailureClass::Input, what);
    let life = newest_life(&work.folder)
        .ok_or_else(|| cannot(format!("nothing was kept of its files in {}", work.folder.display())))?;
    let read = |name: String| read_list(&work.folder.join(name));
    let before = read(format!("{life}.json")).map_err(|e| cannot(format!("what was kept cannot be read: {e}")))?;
    let after = read(format!("{life}.after")).ok();
    let root = Root::open(&work.root).map_err(|e| cannot(format!("cannot look into {}: {e}", work.root.display())))?;
    let blobs = blobs_of(&work.folder);
    let aside = aside_of(&work.folder, life);
    let mut faults = Vec::new();
    for image in &before {
        let path = &image.path;
        let left = after.as_ref().and_then(|after| after.iter().find(|image| image.path == *path)).map(|i| &i.state);
        if let Err(fault) = put_back(&root, image, left, &blobs, &aside) {
            faults.push(format!("{path} {fault}"));
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(cannot(format!("not put back: {}", faults.join("; ")))),
    }
}

/// `left` is what the task left there; `None` when it never ended well. What it replaces then is noted in the list
/// `aside` before that.
fn put_back(root: &Root, image: &Image, left: Option<&Present>, blobs: &Path, aside: &Path) -> Result<(), String> {
    let told = |e: io::Error| format!("cannot be put back: {e}");
    let (now, _) = root.look(&image.path, None).map_err(told)?;
    // A task that left a file as it was has nothing to do with what became of it later.
    if now == image.state || left == Some(&image.state) {
        return Ok(());
    }
    if let Present::Other { what } = &now {
        return Err(format!("is {what} now, and is left as it is"));
    }
    match left {
        Some(left) if *left != now => return Err("was changed since by somebody else, and is left as it is".to_owned()),
        Some(_) => {}
        None if now == Present::Missing => {}
        None => {
            let (state, missing_above) = root.look(&image.path, Some((blobs, MAX_BYTES))).map_err(told)?;
            if state.bytes() > MAX_BYTES {
                return Err(
                    "is too large to be put aside, and nobody knows who wrote it; it is left as it is".to_owned()
                );
            }
            let found = Image { path: image.path.clone(), state, missing_above };
            put_aside(aside, blobs, vec![found]).map_err(|e| format!("cannot be put aside: {e}"))?;
        }
    }
    root.put(&image.path, &image.state, &image.missing_above, blobs).map_err(told)
}

/// Adds to the list of what was put aside, durably; contents are among the blobs already.
fn put_aside(list: &Path, blobs: &Path, fresh: Vec<Image>) -> io::Result<()> {
    // What is there was put aside by an earlier attempt and is not replaced.
    let mut all = read_aside(list)?;
    let known = all.len();
    fresh.into_iter().for_each(|image| {
        if !all.contains(&image) {
            all.push(image);
        }
    });
    if all.len() == known {
        return Ok(());
    }
    sync_folder(blobs)?;
    write_list(list, &all)
}

fn aside_of(folder: &Path, life: u32) -> PathBuf {
    folder.join(format!("{life}.aside"))
}

fn read_aside(list: &Path) -> io::Result<Vec<Image>> {
    match read_list(list) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn blobs_of(folder: &Path) -> PathBuf {
    folder.parent().unwrap_or(folder).join("blobs")
}

fn newest_life(folder: &Path) -> Option<u32> {
    let names = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).max()
}

/// Only for the user: contents of files are nobody else's.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Two levels at most were made, and their names must last as well.
    folder.ancestors().skip(1).take(2).try_for_each(sync_folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

fn write_list(path: &Path, images: &[Image]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec(images)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_folder(path.parent().unwrap_or(path))
}

fn read_list(path: &Path) -> io::Result<Vec<Image>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[cfg(test)]
mod tests;
