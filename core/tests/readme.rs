//! The README's table of options is the table of the core.

#![allow(clippy::unwrap_used)]

use leakpool::OPTIONS;

fn table() -> String {
    let mut text =
        String::from("| option | Node | Python | default | what it does |\n|---|---|---|---|---|\n");
    for o in OPTIONS {
        text += &format!("| `{}` | `{}` | `{}` | {} | {} |\n", o.name, o.node, o.python, o.default, o.doc);
    }
    text
}

#[test]
fn the_options_in_the_readme_are_those_of_the_core() {
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&table()), "README.md, section Options, should be:\n\n{}", table());
}
