//! Draws a picture of stacked panels on any plotters backend.
//!
//! All lengths here are in pixels of the finished picture. plotters' coordinates are integers and its thick lines are
//! not antialiased, so everything is drawn [`SCALE`] times larger and `raster` makes it small again.

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{axis::Axis, font, series::Points};

/// Drawn pixels per pixel of the finished picture.
pub(super) const SCALE: u32 = 3;

const PANEL_HEIGHT: u32 = 300;
const MARGIN: u32 = 24;
const TITLE_SIZE: u32 = 24;
const PANEL_TITLE_SIZE: u32 = 18;
const TEXT_SIZE: u32 = 16;
const LEGEND_ROW: u32 = 26;
const SWATCH: u32 = 26;
const Y_LABELS: u32 = 62;
const X_LABELS: u32 = 30;
const X_TITLE: u32 = 24;
/// The font's box reaches further below the letters than above: what this lowers a text that is centred on its box.
const CENTRING: u32 = 2;
const RAW_ALPHA: f64 = 0.22;

const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(226, 226, 226);
const FRAME: RGBColor = RGBColor(150, 150, 150);

pub(super) struct Picture {
    pub title: String,
    /// Name and colour of each run.
    pub legend: Vec<(String, RGBColor)>,
    pub width: u32,
    pub x: Axis,
    pub x_title: String,
    pub panels: Vec<Panel>,
}

pub(super) struct Panel {
    pub title: String,
    pub lines: Vec<Line>,
    pub y: Axis,
}

pub(super) struct Line {
    pub colour: RGBColor,
    /// Drawn thin and faint; may be empty.
    pub raw: Points,
    pub smooth: Points,
    pub stroke: Stroke,
    /// Marks the points and names the stroke beside the panel's title.
    pub label: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stroke {
    Solid,
    Dashed,
    Dotted,
}

type Area<DB> = DrawingArea<DB, Shift>;
type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

impl Picture {
    /// Height of the finished picture.
    pub(crate) fn height(&self) -> u32 {
        self.head() + PANEL_HEIGHT * self.panels.len() as u32 + X_TITLE + MARGIN / 2
    }

    fn head(&self) -> u32 {
        MARGIN + TITLE_SIZE + MARGIN / 2 + LEGEND_ROW * self.legend_rows().len() as u32
    }

    pub(crate) fn draw<DB: DrawingBackend>(&self, root: &Area<DB>) -> Drawn<DB> {
        root.fill(&WHITE)?;
        let left = scaled(MARGIN);
        root.draw(&Text::new(self.title.as_str(), (left, scaled(MARGIN)), text(TITLE_SIZE)))?;
        self.draw_legend(root)?;

        let (_, body) = root.split_vertically(scaled(self.head()));
        for (number, panel) in self.panels.iter().enumerate() {
            let top = scaled(PANEL_HEIGHT) * number as i32;
            let area = body.clone().shrink((0, top), (scaled(self.width), scaled(PANEL_HEIGHT)));
            panel.draw(&area, &self.x)?;
        }
        let below = scaled(PANEL_HEIGHT) * self.panels.len() as i32;
        let centre = (scaled(Y_LABELS) + scaled(self.width - MARGIN)) / 2;
        let style = text(TEXT_SIZE).pos(Pos::new(HPos::Center, VPos::Top));
        body.draw(&Text::new(self.x_title.as_str(), (centre, below), style))
    }

    /// The legend's entries with the x at which each starts, broken into rows that fit.
    fn legend_rows(&self) -> Vec<Vec<(u32, usize)>> {
        let mut rows: Vec<Vec<(u32, usize)>> = vec![Vec::new()];
        let mut x = MARGIN;
        for (index, (name, _)) in self.legend.iter().enumerate() {
            let entry = SWATCH + 8 + text_width(name, TEXT_SIZE) + 28;
            if x + entry > self.width && x > MARGIN {
                rows.push(Vec::new());
                x = MARGIN;
            }
            if let Some(row) = rows.last_mut() {
                row.push((x, index));
            }
            x += entry;
        }
        rows
    }

    fn draw_legend<DB: DrawingBackend>(&self, root: &Area<DB>) -> Drawn<DB> {
        let top = MARGIN + TITLE_SIZE + MARGIN / 2;
        for (row, entries) in self.legend_rows().into_iter().enumerate() {
            let middle = scaled(top + LEGEND_ROW * row as u32 + LEGEND_ROW / 2);
            for (x, index) in entries {
                let (name, colour) = &self.legend[index];
                let ends = [(scaled(x), middle), (scaled(x + SWATCH), middle)];
                root.draw(&PathElement::new(ends, colour.stroke_width(SCALE * 4)))?;
                let style = text(TEXT_SIZE).pos(Pos::new(HPos::Left, VPos::Center));
                root.draw(&Text::new(name.as_str(), (scaled(x + SWATCH + 8), middle + scaled(CENTRING)), style))?;
            }
        }
        Ok(())
    }
}

impl Panel {
    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>, x: &Axis) -> Drawn<DB> {
        let title_height = PANEL_TITLE_SIZE + 18;
        area.draw(&Text::new(self.title.as_str(), (scaled(MARGIN), scaled(12)), text(PANEL_TITLE_SIZE)))?;
        self.draw_stroke_legend(area)?;

        let mut chart = ChartBuilder::on(area)
            .margin_top(scaled(title_height))
            .margin_right(scaled(MARGIN))
            .x_label_area_size(scaled(X_LABELS))
            .y_label_area_size(scaled(Y_LABELS))
            .build_cartesian_2d(x.clone(), self.y.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(SCALE))
            .axis_style(FRAME.stroke_width(SCALE))
            .set_all_tick_mark_size(scaled(4))
            .label_style(text(TEXT_SIZE))
            .draw()?;

        let inside = |points: &Points| -> Points { points.iter().map(|&(x, y)| (x, self.y.clamp(y))).collect() };
        for line in &self.lines {
            chart.draw_series(LineSeries::new(inside(&line.raw), line.colour.mix(RAW_ALPHA).stroke_width(SCALE)))?;
        }
        for line in &self.lines {
            let points = inside(&line.smooth);
            let style = line.colour.stroke_width(SCALE * 2);
            match line.stroke {
                Stroke::Solid => chart.draw_series(LineSeries::new(points.clone(), style))?,
                Stroke::Dashed => {
                    chart.draw_series(DashedLineSeries::new(points.clone(), scaled(9), scaled(5), style))?
                }
                Stroke::Dotted => {
                    chart.draw_series(DashedLineSeries::new(points.clone(), scaled(2), scaled(5), style))?
                }
            };
            if line.label.is_some() {
                chart.draw_series(
                    points.iter().map(|&point| EmptyElement::at(point) + marker(line.stroke, (0, 0), line.colour)),
                )?;
            }
        }
        Ok(())
    }

    /// Names the strokes in use, right of the panel's title, if there is more than one.
    fn draw_stroke_legend<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn<DB> {
        let mut used: Vec<(Stroke, &str)> = Vec::new();
        for line in &self.lines {
            if let Some(label) = line.label.filter(|_| used.iter().all(|&(stroke, _)| stroke != line.stroke)) {
                used.push((line.stroke, label));
            }
        }
        if used.len() < 2 {
            return Ok(());
        }
        let mut x = MARGIN + text_width(&self.title, PANEL_TITLE_SIZE) + 36;
        let middle = scaled(12 + PANEL_TITLE_SIZE / 2 - CENTRING);
        for (stroke, label) in used {
            area.draw(&(EmptyElement::at((scaled(x), middle)) + marker(stroke, (0, 0), INK)))?;
            let style = text(TEXT_SIZE).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(label, (scaled(x + 10), middle + scaled(CENTRING)), style))?;
            x += 10 + text_width(label, TEXT_SIZE) + 24;
        }
        Ok(())
    }
}

/// A filled circle, triangle or square: one for each stroke.
fn marker<DB: DrawingBackend>(stroke: Stroke, at: (i32, i32), colour: RGBColor) -> DynElement<'static, DB, (i32, i32)> {
    let size = scaled(4);
    match stroke {
        Stroke::Solid => Circle::new(at, size, colour.filled()).into_dyn(),
        Stroke::Dashed => TriangleMarker::new(at, size + scaled(1), colour.filled()).into_dyn(),
        Stroke::Dotted => {
            Rectangle::new([(at.0 - size, at.1 - size), (at.0 + size, at.1 + size)], colour.filled()).into_dyn()
        }
    }
}

fn text(size: u32) -> TextStyle<'static> {
    (font::FAMILY, scaled(size)).into_font().color(&INK)
}

/// Width of a text in pixels of the finished picture; a guess if the font has none for it.
fn text_width(content: &str, size: u32) -> u32 {
    let drawn = (font::FAMILY, scaled(size)).into_font().box_size(content);
    drawn.map_or(content.chars().count() as u32 * size / 2, |(width, _)| width / SCALE)
}

fn scaled(pixels: u32) -> i32 {
    (pixels * SCALE) as i32
}
