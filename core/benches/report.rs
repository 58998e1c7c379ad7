//! Measures nothing: renders `target/bench/report.md` from the rows that are there, for those that write rows without
//! being able to render them (the hosts' benchmarks).

mod support;

fn main() {
    if support::asked() {
        support::report::render_or_tell();
    }
}
