//! Child processes: start them cheaply, read what they say, and end them with everything they started. Nothing in
//! here knows tasks, protocols or runs: an owner's mark of any type is carried along and handed back.
//!
//! One thread, one epoll. A child is started by `clone(CLONE_VM | CLONE_VFORK | CLONE_PIDFD)`, as `posix_spawn` does
//! it, so the cost does not grow with this process. Its exit is noticed by its pidfd. Its pipes are watched only when
//! it has lived for a while; most short children are read once, when they are dead.

mod capture;
mod child;
mod launch;
mod search;
mod supervisor;
mod tree;

pub(crate) use capture::{Capture, Excerpt, Log, OUTPUT_BYTES, last_line};
pub(crate) use child::{ChildId, Exit, Stream};
pub(crate) use launch::{Input, Launch};
pub(crate) use supervisor::{Listener, Supervisor};
pub(crate) use tree::{Process, descendants, everybody};
