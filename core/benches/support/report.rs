//! The report: every benchmark leaves its rows in `target/bench/rows` and renders what is there, so that the report
//! is whole after a single one, too. It informs; it never fails anything.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::rounds::{Samples, Spread};
use super::{plot, versions};

/// One line of the report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// What was done.
    pub work: String,
    /// What it was compared with; empty if nothing.
    pub against: String,
    /// `x` for a ratio, else a unit.
    pub unit: String,
    /// The most that we want; `None` = for information.
    pub goal: Option<f64>,
    /// What came out.
    pub spread: Spread,
    /// Absolute numbers and circumstances.
    pub note: String,
}

impl Row {
    /// A ratio of two cases, with their absolute medians.
    pub fn ratio(samples: &Samples, name: &str, base: &str, goal: Option<f64>) -> Row {
        let note = format!("{} against {}", time(samples.median(name)), time(samples.median(base)));
        Row {
            work: name.into(),
            against: base.into(),
            unit: "x".into(),
            goal,
            spread: samples.ratio(name, base),
            note,
        }
    }

    /// A plain number with a unit.
    pub fn value(work: &str, unit: &str, goal: Option<f64>, spread: Spread, note: impl Into<String>) -> Row {
        let (work, unit, note) = (work.into(), unit.into(), note.into());
        Row { work, against: String::new(), unit, goal, spread, note }
    }

    /// The same with more to say.
    #[must_use]
    pub fn note(mut self, more: &str) -> Row {
        let gap = if self.note.is_empty() { "" } else { "; " };
        self.note = format!("{}{gap}{more}", self.note);
        self
    }

    fn line(&self) -> String {
        let Spread { median, q1, q3, min, max, count } = self.spread;
        let show = |value: f64| figure(value);
        let (goal, met) = match self.goal {
            Some(goal) => (format!("<= {goal} {}", self.unit), if median <= goal { "yes" } else { "**no**" }),
            None => ("-".into(), "-"),
        };
        let (work, against, unit, note) = (&self.work, &self.against, &self.unit, &self.note);
        format!(
            "| {work} | {against} | {goal} | **{}** {unit} | {}..{} | {}..{} | {count} | {met} | {note} |",
            show(median),
            show(q1),
            show(q3),
            show(min),
            show(max),
        )
    }
}

/// What one benchmark has to say.
#[derive(Debug, Serialize, Deserialize)]
pub struct Section {
    title: String,
    text: String,
    load: String,
    /// Its rows.
    pub rows: Vec<Row>,
}

impl Section {
    /// An empty one. Made before the measuring, so that it tells how busy the machine was.
    pub fn new(title: &str, text: &str) -> Section {
        Section { title: title.into(), text: text.into(), load: versions::load(), rows: Vec::new() }
    }

    /// Adds a row and prints it.
    pub fn row(&mut self, row: Row) {
        println!("{}", row.line());
        self.rows.push(row);
    }

    /// Leaves the rows and renders the report. `file` decides the order.
    pub fn finish(self, file: &str) {
        let written = self.write(file);
        if let Err(error) = written {
            eprintln!("the report could not be written: {error}");
        }
    }

    fn write(&self, file: &str) -> std::io::Result<()> {
        let dir = directory();
        fs::create_dir_all(dir.join("rows"))?;
        fs::write(dir.join("rows").join(format!("{file}.json")), serde_json::to_string_pretty(self)?)?;
        render(&dir)
    }
}

/// `target/bench`, wherever the target directory is.
pub fn directory() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp).join("bench")
}

/// Renders what has been left there so far.
pub fn render_all() -> std::io::Result<()> {
    render(&directory())
}

const INTRODUCTION: &str = "\
Ratios of one round are compared, never times of different rounds: the cases run in turn (A B A B, the order
reversed every other round) after a warm-up, and the median of the ratios is given with its quartiles, the extremes
and the number of rounds. Where it matters, the rounds come from several starts of the program. A goal is what we
want, not a test: nothing fails when it is missed.";

fn render(dir: &Path) -> std::io::Result<()> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("rows"))?.flatten().map(|e| e.path()).collect();
    files.sort();
    let mut sections = Vec::new();
    for file in files {
        sections.push(serde_json::from_str::<Section>(&fs::read_to_string(file)?)?);
    }
    let mut text = format!("# Benchmarks\n\n{INTRODUCTION}\n\n");
    for (name, value) in versions::environment() {
        let _ = writeln!(text, "- {name}: {value}");
    }
    text.push_str("\n![each result as a share of its goal](report.svg)\n");
    for section in &sections {
        let Section { title, text: about, load, rows } = section;
        let _ = write!(text, "\n## {title}\n\n{about} Load of the machine when it began: {load}.\n\n");
        text.push_str("| work | against | goal | median | quartiles | extremes | rounds | met | notes |\n");
        text.push_str("|---|---|---|---|---|---|---|---|---|\n");
        for row in rows {
            let _ = writeln!(text, "{}", row.line());
        }
    }
    fs::write(dir.join("report.md"), text)?;
    let rows: Vec<&Row> = sections.iter().flat_map(|s| &s.rows).filter(|r| r.goal.is_some()).collect();
    plot::draw(&dir.join("report.svg"), &rows)
}

/// Nanoseconds as people read them.
pub fn time(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.2} µs", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    }
}

/// Three figures or so.
pub fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
