//! Black-box tests of the command line in a bare environment. One binary, because linking is what takes time.

#![allow(unreachable_pub, reason = "nothing outside can use a test binary")]

mod command_line;
mod kit;
mod permissions;
mod plans;
mod simulations;
