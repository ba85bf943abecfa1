//! stub
use alloc::vec::Vec;
/// stub
#[derive(Debug)] pub struct Graph(Vec<u32>);
/// stub
#[derive(Debug)] pub struct GraphBuilder;
/// stub
#[derive(Debug)] pub enum OnDoubt { /// r
 Rerun }
/// stub
#[derive(Debug)] pub struct Pool(pub u16);
/// stub
#[derive(Debug)] pub struct RetryPolicy;
/// stub
#[derive(Debug)] pub struct Strength;
/// stub
#[derive(Debug)] pub struct TaskSpec;
