//! What a person sees while an experiment runs: on a terminal a live table of the arms, elsewhere a line for each cell.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use bertsd_cuda::{
    experiment::{Cell, Choice, Ending, Row, statistics::Estimate},
    metrics::Metric,
    reports::short_duration,
};
use indicatif::ProgressBar;

use crate::commands::{console, score_table::aligned};

/// Arms that fit on a screen.
const MOST_ARMS: usize = 24;
/// How often the table is drawn anew while a cell runs.
const INTERVAL: Duration = Duration::from_millis(250);

/// The live view of an experiment.
pub struct Board<'a> {
    cells: &'a [Cell],
    jobs: usize,
    bar: ProgressBar,
    rows: HashMap<String, Row>,
    choice: Choice,
    running: Option<&'a Cell>,
    step: u64,
    drawn: Instant,
}

impl<'a> Board<'a> {
    pub fn new(cells: &'a [Cell], jobs: usize) -> Self {
        Self {
            bar: console::styled_bar(cells.len() as u64, "{bar:24} {pos}/{len} {msg}"),
            cells,
            jobs,
            rows: HashMap::new(),
            choice: Choice::default(),
            running: None,
            step: 0,
            drawn: Instant::now(),
        }
    }

    /// What is known before anything is run, or has become known since.
    pub fn know(&mut self, choice: &Choice, rows: &HashMap<String, Row>) {
        self.choice = choice.clone();
        if self.rows.len() != rows.len() {
            self.rows.clone_from(rows);
        }
        self.draw();
    }

    pub fn begin(&mut self, cell: &Cell) {
        self.running = self.cells.iter().find(|known| known.id == cell.id && known.data == cell.data);
        self.step = 0;
        self.draw();
    }

    pub fn step(&mut self, step: u64) {
        self.step = step;
        if self.drawn.elapsed() >= INTERVAL {
            self.draw();
        }
    }

    pub fn wait(&mut self) {
        self.running = None;
        if self.drawn.elapsed() >= INTERVAL {
            self.draw();
        }
    }

    pub fn done(&mut self, cell: &Cell, row: &Row) {
        self.rows.insert(cell.id.clone(), row.clone());
        let what = match (&row.ending, row.dev_scores()) {
            (Ending::Failed { message }, _) => message.clone(),
            (_, Some(scores)) => format!("dev accuracy {:.4}", scores.accuracy),
            (_, None) => "done".to_owned(),
        };
        let (count, total) = (self.count(), self.choice.total(self.cells));
        let left = self.left().map_or_else(String::new, |left| format!("; {} left", short_duration(left)));
        console::say(format_args!("[{count}/{total}] {}: {what}, {:.1} s{left}", cell.name(), row.seconds));
        self.draw();
    }

    /// Removes what is live.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn count(&self) -> usize {
        self.cells.iter().filter(|cell| self.rows.contains_key(&cell.id)).count()
    }

    /// Cells take as long as those of their data set took, by their passes over it.
    fn left(&self) -> Option<Duration> {
        let mut paces: HashMap<&str, (f64, f64)> = HashMap::new();
        for cell in self.cells {
            let Some(row) = self.rows.get(&cell.id).filter(|row| row.is_finished() && !row.resumed) else { continue };
            for data in [cell.data.as_str(), ANY] {
                let (seconds, length) = paces.entry(data).or_default();
                (*seconds, *length) = (*seconds + row.seconds, *length + cell.length() as f64);
            }
        }
        let pace =
            |cell: &Cell| paces.get(cell.data.as_str()).or(paces.get(ANY)).map(|(seconds, length)| seconds / length);
        let open: Vec<&Cell> = self.cells.iter().filter(|cell| !self.rows.contains_key(&cell.id)).collect();
        let wanted = open.iter().filter(|cell| self.choice.wants(cell));
        let known: f64 = wanted.clone().map(|cell| Some(pace(cell)? * cell.length() as f64)).sum::<Option<f64>>()?;
        let (count, total) =
            (wanted.count(), self.choice.total(self.cells) - self.count().min(self.choice.total(self.cells)));
        let all = if count == 0 { known } else { known * total as f64 / count as f64 };
        Duration::try_from_secs_f64(all / self.jobs as f64).ok()
    }

    fn draw(&mut self) {
        self.drawn = Instant::now();
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_length(self.choice.total(self.cells) as u64);
        self.bar.set_position(self.count() as u64);
        let left = self.left().map_or_else(String::new, |left| format!("· {} left ", short_duration(left)));
        let now = self.running.map_or_else(String::new, |cell| format!("· {} step {}", cell.name(), self.step));
        self.bar.set_message(format!("{left}{now}\n{}", self.table()));
    }

    /// Each arm with how many of its cells are done, and dev so far.
    fn table(&self) -> String {
        let mut arms: Vec<(String, usize, Vec<f64>)> = Vec::new();
        for cell in self.cells.iter().filter(|cell| self.choice.wants(cell)) {
            let name = format!("{} {}", cell.data, cell.arm(&[]));
            let place = arms.iter().position(|(known, ..)| *known == name).unwrap_or_else(|| {
                arms.push((name, 0, Vec::new()));
                arms.len() - 1
            });
            arms[place].1 += 1;
            let scores = self.rows.get(&cell.id).and_then(Row::dev_scores);
            arms[place].2.extend(scores.map(|scores| Metric::Accuracy.get(scores)));
        }
        let mut rows = vec![["arm", "done", "dev accuracy"].map(str::to_owned).to_vec()];
        for (name, total, scores) in arms.iter().take(MOST_ARMS) {
            let dev = Estimate::of(scores);
            let score = match scores.len() {
                0 => String::new(),
                1 => format!("{:.4}", dev.mean),
                _ => format!("{:.4} ± {:.4}", dev.mean, dev.standard_error()),
            };
            rows.push(vec![name.trim().to_owned(), format!("{}/{total}", scores.len()), score]);
        }
        let more = arms.len().saturating_sub(MOST_ARMS);
        aligned(&rows) + &if more > 0 { format!("and {more} more\n") } else { String::new() }
    }
}

/// The pace of all data sets together.
const ANY: &str = "\0";
