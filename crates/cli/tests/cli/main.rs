//! Black-box tests of the command line in a bare environment. One binary, because linking is what takes time.

mod command_line;
mod kit;
mod plans;
