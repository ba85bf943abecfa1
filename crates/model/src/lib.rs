//! Text in, validated workflow out. This crate knows no files, processes, clock or async; whoever calls it
//! brings texts and a [`catalog::Catalog`] of what is known outside the file.

pub mod catalog;
pub mod template;
pub mod workflow;
