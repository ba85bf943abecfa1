//! The whole program with real processes: killed at any moment, fed with anything, and against the faults that earlier
//! systems of this kind had. Nothing here knows the code; all goes through the command line.

mod bad_input;
mod damage;
mod data;
mod faults;
mod kill_minus_nine;
mod place;
mod processes;
mod timeouts;
