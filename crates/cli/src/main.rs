//! The binary's entry point; it knows nothing but where the command line begins.
fn main() {}
