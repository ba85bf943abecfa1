//! The table of legal steps as a text to read, compared with the code cell by cell. `UPDATE=1` writes it anew; the
//! difference is then there for a reviewer to see.

use raddle_kernel::state::{Phase, Step, next};

#[test]
fn the_table_of_steps_is_the_one_that_is_written_down() {
    let mut text = String::from("# What each step makes of each phase; a dot is illegal.\n\n");
    let row = |name: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("{cell:11}")).collect();
        format!("{name:12}{cells}").trim_end().to_owned() + "\n"
    };
    for steps in Step::ALL.chunks(7) {
        text += &row("", &steps.iter().map(|step| format!("{step:?}")).collect::<Vec<_>>());
        for from in Phase::ALL {
            let cell = |step: &Step| next(from, *step).map_or(".".to_owned(), |to| format!("{to:?}"));
            text += &row(&format!("{from:?}"), &steps.iter().map(cell).collect::<Vec<_>>());
        }
        text += "\n";
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transitions.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(path).expect("the golden file is there");
    assert!(golden == text, "the table differs from tests/transitions.txt; UPDATE=1 writes it anew:\n{text}");
}
