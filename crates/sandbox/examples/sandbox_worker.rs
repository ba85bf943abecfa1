//! A bare worker, as the tests and benchmarks of this crate start it. A product calls the same function from a hidden
//! sub-command of its own binary.

fn main() {
    match raddle_sandbox::Config::from_args(std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(config) => raddle_sandbox::worker::main(config),
        Err(_) => std::process::exit(2),
    }
}
