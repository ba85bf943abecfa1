//! stub
/// stub
#[derive(Debug)] pub struct TaskState;
/// stub
#[derive(Debug)] pub struct Cause;
