//! Learning curves of one or several runs, drawn from what they recorded: a PNG or an SVG.
//!
//! Panels, one above the other over the same updates: cross entropy, distillation (left out if no run has any), and a
//! score on the dev examples. A run keeps its colour through all panels. Training losses are a faint line of the raw
//! values under their moving average; scores are marked at each evaluation, with one marker and dash for each kind of
//! weights. Rare spikes are cut off at the edge of the panel instead of flattening the rest.

use std::path::Path;

use plotters::style::RGBColor;

use super::{
    RunHistory, Split, StepEvent, Weights,
    axis::Axis,
    picture::{Line, Panel, Picture, Stroke},
    raster, series,
};
use crate::{Error, Result, checkpoint::write_atomically, metrics::Metric};

/// Okabe and Ito's colours, told apart with every common colour blindness; their yellow is left out, being faint on
/// white. The eighth run has the colour of the first again: a picture of more runs than this says little anyway.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(70, 70, 70),
];

/// The moving average looks back over this share of a run, if not told otherwise, and over at least so many updates.
const SPAN_SHARE: f64 = 1.0 / 40.0;
const LEAST_SPAN: f64 = 10.0;
/// Share of a panel's height that stays free above and below the curves.
const MARGIN: f64 = 0.06;
const X_TICKS: usize = 8;
const Y_TICKS: usize = 6;
const SMALLEST_WIDTH: u32 = 400;
const LARGEST_WIDTH: u32 = 8_000;

/// What to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct CurveOptions {
    /// What stands above the panels.
    pub title: String,
    /// The score of the last panel.
    pub metric: Metric,
    /// Width in pixels, 400..=8,000; the height follows from the number of panels.
    pub width: u32,
    /// Updates that the moving average looks back over; a fortieth of each run, but at least 10, if not given. 1 is no
    /// smoothing.
    pub smoothing_steps: Option<u32>,
}

impl Default for CurveOptions {
    fn default() -> Self {
        Self { title: "Learning curves".into(), metric: Metric::Accuracy, width: 1_200, smoothing_steps: None }
    }
}

/// The picture as the text of an SVG file.
///
/// # Errors
/// [`Error::Setting`] for a width out of range, or when no run has recorded anything; [`Error::Picture`] when it cannot
/// be drawn.
pub fn curves_svg(runs: &[RunHistory], options: &CurveOptions) -> Result<String> {
    raster::svg(&picture(runs, options)?)
}

/// The picture as the bytes of a PNG file.
///
/// # Errors
/// As [`curves_svg`].
pub fn curves_png(runs: &[RunHistory], options: &CurveOptions) -> Result<Vec<u8>> {
    raster::png(&picture(runs, options)?)
}

/// Writes the picture to `path`; its extension, `.png` or `.svg`, says as what.
///
/// # Errors
/// [`Error::Setting`] for another extension; [`Error::Io`] when it cannot be written; those of [`curves_svg`].
pub fn write_curves(runs: &[RunHistory], options: &CurveOptions, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    match extension.as_ref().and_then(|extension| extension.to_str()) {
        Some("png") => write_atomically(path, &curves_png(runs, options)?),
        Some("svg") => write_atomically(path, curves_svg(runs, options)?.as_bytes()),
        _ => Err(Error::setting("out", format!("{}: a picture's name must end in .png or .svg", path.display()))),
    }
}

fn picture(runs: &[RunHistory], options: &CurveOptions) -> Result<Picture> {
    if !(SMALLEST_WIDTH..=LARGEST_WIDTH).contains(&options.width) {
        let message = format!("must be from {SMALLEST_WIDTH} to {LARGEST_WIDTH} pixels, not {}", options.width);
        return Err(Error::setting("width", message));
    }
    let panels = [
        loss_panel("Cross entropy, training", runs, options, |event| event.ce),
        loss_panel("Distillation loss, training (before λ)", runs, options, |event| event.distill),
        score_panel(runs, options.metric),
    ];
    let panels: Vec<Panel> = panels.into_iter().flatten().collect();
    if panels.is_empty() {
        return Err(Error::setting(
            "report",
            "none of the runs has recorded an update or an evaluation on dev examples",
        ));
    }
    let steps = runs.iter().flat_map(|run| run.steps.iter().map(|e| e.step).chain(run.evals.iter().map(|e| e.step)));
    let last_step = steps.max().unwrap_or(0).max(1);
    Ok(Picture {
        title: options.title.clone(),
        legend: runs.iter().zip(COLOURS.iter().cycle()).map(|(run, &colour)| (run.name.clone(), colour)).collect(),
        width: options.width,
        x: Axis::covering(0.0, last_step as f64, X_TICKS),
        x_title: "optimizer updates".into(),
        panels,
    })
}

/// `None` if no run has values other than 0.
fn loss_panel(
    title: &str,
    runs: &[RunHistory],
    options: &CurveOptions,
    of: impl Fn(&StepEvent) -> f64,
) -> Option<Panel> {
    let mut lines = Vec::new();
    for (run, &colour) in runs.iter().zip(COLOURS.iter().cycle()) {
        let raw: Vec<(f64, f64)> = run.steps.iter().map(|event| (event.step as f64, of(event))).collect();
        if raw.iter().all(|&(_, y)| y == 0.0 || !y.is_finite()) {
            continue;
        }
        let span = options.smoothing_steps.map_or((raw.len() as f64 * SPAN_SHARE).max(LEAST_SPAN), f64::from);
        let smooth = series::smooth(&raw, span);
        let buckets = options.width as usize;
        let (raw, smooth) = (series::thin(&raw, buckets), series::thin(&smooth, buckets));
        lines.push(Line { colour, raw, smooth, stroke: Stroke::Solid, label: None });
    }
    let raw = series::range(lines.iter().flat_map(|line| line.raw.iter().map(|&(_, y)| y)))?;
    let (low, high) =
        lines.iter().flat_map(|line| &line.smooth).fold(raw, |(low, high), &(_, y)| (low.min(y), high.max(y)));
    let y = Axis::around(low, high, MARGIN, (0.0, f64::INFINITY), Y_TICKS);
    Some(Panel { title: title.into(), lines, y })
}

/// `None` if no run was evaluated on dev examples.
fn score_panel(runs: &[RunHistory], metric: Metric) -> Option<Panel> {
    let mut lines = Vec::new();
    for (run, &colour) in runs.iter().zip(COLOURS.iter().cycle()) {
        for (weights, stroke) in
            [(Weights::Student, Stroke::Solid), (Weights::Teacher, Stroke::Dashed), (Weights::Average, Stroke::Dotted)]
        {
            let evals = run.evals.iter().filter(|event| event.split == Split::Dev && event.weights == weights);
            let points: Vec<(f64, f64)> = evals
                .map(|event| (event.step as f64, metric.get(&event.scores)))
                .filter(|(_, score)| score.is_finite())
                .collect();
            if !points.is_empty() {
                lines.push(Line { colour, raw: Vec::new(), smooth: points, stroke, label: Some(weights.name()) });
            }
        }
    }
    let scores = || lines.iter().flat_map(|line| line.smooth.iter().map(|&(_, y)| y));
    let low = scores().reduce(f64::min)?;
    let high = scores().reduce(f64::max)?;
    let limits = match metric {
        Metric::Mcc => (-1.0, 1.0),
        Metric::Loss => (0.0, f64::INFINITY),
        _ => (0.0, 1.0),
    };
    let y = Axis::around(low, high, MARGIN, limits, Y_TICKS);
    Some(Panel { title: format!("{} on dev", title_for(metric)), lines, y })
}

fn title_for(metric: Metric) -> &'static str {
    match metric {
        Metric::Accuracy => "Accuracy",
        Metric::MacroF1 => "Macro F1",
        Metric::WeightedF1 => "Weighted F1",
        Metric::Mcc => "Matthews correlation",
        Metric::Loss => "Cross entropy",
        Metric::Ece => "Calibration error (ECE)",
    }
}
