//! The plot: each result as a share of its goal, on one logarithmic axis, whatever its unit.

use std::path::Path;

use plotters::prelude::*;

use super::report::{Row, figure};

const WIDTH: i32 = 1100;
const LEFT: i32 = 560;
const RIGHT: i32 = 130;
const TOP: i32 = 56;
const STEP: i32 = 24;
/// The axis goes from a hundredth of the goal to ten times it.
const DECADES: (f64, f64) = (-2.0, 1.0);

fn x(share: f64) -> i32 {
    let place = (share.max(1e-9).log10().clamp(DECADES.0, DECADES.1) - DECADES.0) / (DECADES.1 - DECADES.0);
    LEFT + (place * f64::from(WIDTH - LEFT - RIGHT)) as i32
}

/// Draws the rows that have a goal.
pub fn draw(path: &Path, rows: &[&Row]) -> std::io::Result<()> {
    let height = TOP + STEP * rows.len() as i32 + 24;
    let area = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    paint(&area, rows, height).map_err(|error| std::io::Error::other(error.to_string()))
}

type Painted = Result<(), Box<dyn std::error::Error>>;

fn paint(area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, rows: &[&Row], height: i32) -> Painted {
    let font = ("sans-serif", 13).into_font();
    let label = |text: String, at: (i32, i32)| Text::new(text, at, font.clone().color(&BLACK));
    area.fill(&WHITE)?;
    area.draw(&label("each result as a share of its goal (1 = just met; left is better)".into(), (16, 8)))?;
    for share in [0.01, 0.1, 1.0, 10.0] {
        let colour = if share == 1.0 { RED.mix(0.8) } else { BLACK.mix(0.15) };
        area.draw(&PathElement::new(vec![(x(share), TOP - 6), (x(share), height - 16)], colour))?;
        area.draw(&label(format!("{share}"), (x(share) - 8, TOP - 24)))?;
    }
    for (i, row) in rows.iter().enumerate() {
        let Some(goal) = row.goal else { continue };
        let y = TOP + STEP * i as i32 + STEP / 2;
        let colour = if row.spread.median <= goal { RGBColor(30, 120, 60) } else { RGBColor(190, 40, 30) };
        let [q1, median, q3] = [row.spread.q1, row.spread.median, row.spread.q3].map(|v| x(v / goal));
        let against = if row.against.is_empty() { String::new() } else { format!(" / {}", row.against) };
        area.draw(&label(format!("{}{against}", row.work), (16, y - 7)))?;
        area.draw(&Rectangle::new([(LEFT, y - 5), (median, y + 5)], colour.mix(0.35).filled()))?;
        area.draw(&PathElement::new(vec![(q1, y), (q3, y)], colour.stroke_width(2)))?;
        area.draw(&Circle::new((median, y), 4, colour.filled()))?;
        let value = format!("{} {}", figure(row.spread.median), row.unit);
        area.draw(&label(value, (WIDTH - RIGHT + 12, y - 7)))?;
    }
    area.present()?;
    Ok(())
}
