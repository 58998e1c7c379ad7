//! Measures nothing: renders the report from the rows that are there. For the benchmarks of other languages, which leave
//! their rows beside ours.

mod support;

fn main() {
    if support::asked()
        && let Err(error) = support::report::render_all()
    {
        eprintln!("the report could not be written: {error}");
    }
}
