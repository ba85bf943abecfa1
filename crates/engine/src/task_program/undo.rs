//! Sagas as part of a workflow's program: which tasks belong together, what undoes them, which files are kept for that
//! before they start. It does not know when anything is undone.

use std::path::Path;
use std::sync::Arc;

use raddle_kernel::{FailureClass, GraphBuilder, Phase, Run, TaskIx};
use raddle_model::permissions::{Access, PathPattern};
use raddle_model::workflow::{Compensation, Workflow};

use super::retries;
use super::{TaskProgram, grants};
use crate::attempt::{Failure, Images, RestoreWork};
use crate::program::Context;

/// Folder of a run for files as they were before tasks changed them.
const BEFORE: &str = "before";

/// Tells the kernel's graph of sagas.
pub(super) fn tell_sagas(workflow: &Workflow, builder: &mut GraphBuilder) {
    for ((i, task), scope) in (0u32..).zip(&workflow.tasks).zip(workflow.scopes()) {
        if scope > 0 {
            builder.scope(TaskIx(i), scope);
        }
        if let Some(compensation) = &task.compensate {
            let retry = builder.policy(match compensation {
                Compensation::Task(task) => retries::policy(task),
                Compensation::Restore => raddle_kernel::RetryPolicy::NONE,
            });
            builder.undo(TaskIx(i), retry);
        }
    }
}

/// Whether a task's output can be used. What undoes a task may use what was there when that ran: its own output and
/// those that are still to be undone after it.
pub(super) fn has_output(task: TaskIx, context: &Context<'_>) -> bool {
    let phase = context.run.state(task).phase();
    phase == Phase::Completed || context.undoing && context.run.has_succeeded(task)
}

impl TaskProgram {
    /// Stable over the attempts of one task of one run; another one for what undoes it, and another one again when it
    /// runs after it was undone, since that is no repetition.
    pub(super) fn idempotency_key(&self, task: TaskIx, context: &Context<'_>) -> String {
        match context.undoing {
            true => self.key(task, context.run.times_undone(task), "compensate"),
            false => self.forward_key(task, context.run),
        }
    }

    /// The key of the attempts that are undone.
    pub(super) fn forward_key(&self, task: TaskIx, run: &Run) -> String {
        self.key(task, run.times_undone(task), "")
    }

    fn key(&self, task: TaskIx, times_undone: u32, role: &str) -> String {
        let mut hash = blake3::Hasher::new();
        for part in [&self.place.run, &self.place.idempotency_salt, &self.task(task).id] {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        if times_undone > 0 || !role.is_empty() {
            hash.update(&times_undone.to_le_bytes()).update(role.as_bytes());
        }
        hash.finalize().to_hex()[..32].to_owned()
    }

    /// The files to be kept before an attempt starts; once in a task's life, however often it is tried.
    pub(super) fn images(&self, task: TaskIx, context: &Context<'_>) -> Result<Option<Arc<Images>>, Failure> {
        let spec = self.task(task);
        if context.undoing || !matches!(spec.compensate, Some(Compensation::Restore)) {
            return Ok(None);
        }
        let root = self.root_of(task);
        let grant = spec.permissions.usable();
        if grant.limits_files() {
            let grant = grant.from(&grants::base(&self.place.work_dir)?);
            for path in &spec.writes {
                let answer = grant.whole(Access::Write, &PathPattern::of(grants::base(&root.join(path))?, false));
                if !answer.allowed {
                    return Err(refused(&answer.rule));
                }
            }
        }
        Ok(Some(Arc::new(Images {
            root,
            paths: spec.writes.clone(),
            folder: self.images_folder(task),
            life: context.run.first_attempt(task).0,
        })))
    }

    /// What puts the files back.
    pub(super) fn restoring(&self, task: TaskIx) -> RestoreWork {
        RestoreWork {
            root: self.root_of(task),
            paths: self.task(task).writes.clone(),
            folder: self.images_folder(task),
        }
    }

    fn root_of(&self, task: TaskIx) -> std::path::PathBuf {
        let dir: &Path = &self.place.work_dir;
        self.task(task).cwd.as_ref().map_or_else(|| dir.to_owned(), |cwd| dir.join(cwd))
    }

    /// A task that means something else has a folder of its own.
    fn images_folder(&self, task: TaskIx) -> std::path::PathBuf {
        let task = self.task(task);
        self.place.run_dir.join(BEFORE).join(format!("{}.{}", task.id, task.hash.get(..12).unwrap_or(&task.hash)))
    }
}

fn refused(rule: &str) -> Failure {
    Failure::new(FailureClass::Permission, format!("its files cannot be kept before it starts: {rule}"))
}
