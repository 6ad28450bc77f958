//! The picture docs/kernels.svg: a bar for each kernel of a step, the time that it may take, and the part of it that is
//! its floor.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::{
    prelude::*,
    style::{
        FontStyle, register_font,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{markdown::shown, rows::StepReport};

const FAMILY: &str = "sans-serif";
const WIDTH: i32 = 1000;
const ROW: i32 = 24;
const TOP: i32 = 84;
const LEFT: i32 = 350;
const RIGHT: i32 = 130;
const BAR: i32 = 15;
const INK: RGBColor = RGBColor(40, 40, 40);
const FLOOR: RGBColor = RGBColor(31, 90, 150);
const ESTIMATE: RGBColor = RGBColor(168, 200, 230);

/// Draws the step that the page shows.
pub fn draw(reports: &[StepReport], path: &Path) -> anyhow::Result<()> {
    let report = shown(reports).context("there is a step to draw")?;
    register_font(FAMILY, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| anyhow!("the font cannot be read"))?;
    let height = TOP + ROW * report.rows.len() as i32 + 16;
    let root = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    bars(report, &root).map_err(|error| anyhow!("{error}"))?;
    root.present().context("write the picture")
}

fn bars(
    report: &StepReport,
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Result<(), Box<dyn std::error::Error>> {
    let text = |size: i32| (FAMILY, size).into_font().color(&INK);
    let middle = |horizontal, size: i32| text(size).pos(Pos::new(horizontal, VPos::Center));
    root.fill(&WHITE)?;
    let title = format!(
        "{} {}: {} tokens, {:.0} launches, {:.1} ms on an {}, as estimated",
        report.case,
        report.method.name(),
        report.tokens,
        report.launches,
        report.total.critical_ms,
        report.card.to_uppercase()
    );
    root.draw(&Text::new(title, (20, 18), text(20)))?;
    for (x, colour, name) in [(LEFT, FLOOR, "floor"), (LEFT + 90, ESTIMATE, "estimate")] {
        root.draw(&Rectangle::new([(x, 54), (x + 16, 54 + BAR)], colour.filled()))?;
        root.draw(&Text::new(name, (x + 22, 54 + BAR / 2 + 1), middle(HPos::Left, 14)))?;
    }
    let longest = report.rows.first().map_or(1.0, |row| row.on.estimate_us);
    let pixels = |us: f64| LEFT + (us / longest * f64::from(WIDTH - LEFT - RIGHT)).round() as i32;
    for (number, row) in report.rows.iter().enumerate() {
        let (top, card) = (TOP + ROW * number as i32, &row.on);
        let centre = top + BAR / 2 + 1;
        root.draw(&Text::new(row.kernel.as_str(), (LEFT - 8, centre), middle(HPos::Right, 13)))?;
        root.draw(&Rectangle::new([(LEFT, top), (pixels(card.estimate_us), top + BAR)], ESTIMATE.filled()))?;
        root.draw(&Rectangle::new([(LEFT, top), (pixels(card.floor_us), top + BAR)], FLOOR.filled()))?;
        let label = format!("{:.0} µs, {}", card.estimate_us, card.binding);
        root.draw(&Text::new(label, (pixels(card.estimate_us) + 6, centre), middle(HPos::Left, 13)))?;
    }
    Ok(())
}
