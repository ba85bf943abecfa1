//! Runs that are changed while their engine dies, and while files beside their definition change.

use rustix::process::Signal;

use crate::place::{Place, until};
use crate::processes;

const BESIDE: &str = "tasks:
  - { id: code, type: code_execution, code_file: code.ts }
  - { id: waits, depends_on: [code], on_doubt: rerun, run: 'echo waits >> log; until [ -e go ]; do sleep 0.01; done' }
";

/// The run keeps what it read; what is read anew when it goes on is something else, and is not run without a word.
#[test]
fn a_code_file_that_changed_before_a_patch_is_noticed_when_the_run_goes_on() {
    let place = Place::new();
    place.file("wf.yaml", BESIDE);
    place.file("code.ts", "return 1");
    let mut live = place.start(&["run", "wf.yaml"]);
    until("it waits", || place.text("log") == "waits\n" || live.has_ended());
    place.file("code.ts", "return 2");
    place.file("patch.yaml", "add: [{ id: late, depends_on: [waits], run: 'echo late >> log' }]");
    place.raddle(&["patch", "last", "patch.yaml"]).exits(0);
    processes::signal(live.pid(), Signal::KILL);
    live.child.wait().expect("the front ends");
    until("everything is gone", || processes::mentioning(place.root()).is_empty());
    place.file("go", "");
    let refused = place.raddle(&["resume", "last"]).exits(6);
    assert!(refused.err.contains("has changed since the run began"), "{}", refused.err);
    place.file("code.ts", "return 1");
    place.raddle(&["resume", "last"]).exits(0);
    assert_eq!(place.text("log"), "waits\nwaits\nlate\n");
}
