//! The benchmark sets of the paper, by the layout in which each is distributed.
//!
//! | preset | files | label | text |
//! |---|---|---|---|
//! | `imdb` | `aclImdb/{train,test}/{neg,pos}/*.txt` (Maas et al. 2011) | folder | file |
//! | `ag-news`, `dbpedia` | `train.csv test.csv classes.txt` (Zhang et al. 2015), no header | column 0, from 1 | title, description |
//! | `yelp-p`, `yelp-f` | the same | column 0, from 1 | review |
//! | `snli` | `snli_1.0_{train,dev,test}.jsonl` or `.txt` | `gold_label`, not `-` | `sentence1`, `sentence2` |
//! | `mnli` | `multinli_1.0_{train,dev_matched,dev_mismatched}.jsonl` or `.txt`, or GLUE's `{train,dev_…}.tsv` | the same | the same |
//!
//! The directory may be the one that the archive unpacks into or its parent. MNLI's own test labels are not public, so
//! its mismatched half of dev stands as the test set.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::ValueEnum;

use super::{BadRows, ColumnRef, Columns, Conventions, Folders, Format, LabelMap, Source, Table};
use crate::{
    Error, Result,
    text_value::{text_enum, text_serde},
};

/// A benchmark set by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Reviews of films: positive or negative.
    Imdb,
    /// News by topic.
    AgNews,
    /// Articles by what they are about.
    Dbpedia,
    /// Reviews of businesses: positive or negative.
    #[value(name = "yelp-p")]
    YelpPolarity,
    /// The same by one to five stars.
    #[value(name = "yelp-f")]
    YelpFull,
    /// Pairs of sentences: entailment, neutral or contradiction.
    Snli,
    /// The same in several genres.
    Mnli,
}

text_enum!(Preset);
text_serde!(Preset);

/// The named parts of a data set.
#[derive(Clone, Debug)]
pub struct Splits {
    /// Examples to train on.
    pub train: Source,
    /// Examples to choose by, with their name in the distribution.
    pub dev: Option<(String, Source)>,
    /// Examples to score at the end, with their names.
    pub tests: Vec<(String, Source)>,
    /// The labels, where the distribution lists them; otherwise they are learned from `train`.
    pub labels: Option<LabelMap>,
}

impl Splits {
    /// Sets what becomes of rows that cannot be read, in every part.
    pub fn set_bad_rows(&mut self, bad_rows: BadRows) {
        let named = self.dev.iter_mut().chain(&mut self.tests).map(|(_, source)| source);
        std::iter::once(&mut self.train).chain(named).for_each(|source| source.set_bad_rows(bad_rows));
    }
}

impl Preset {
    /// Whether it is distributed with a development set.
    pub fn has_dev(self) -> bool {
        matches!(self, Self::Snli | Self::Mnli)
    }

    /// Finds the splits under `directory`.
    ///
    /// # Errors
    /// [`Error::Table`] when a split is missing, saying which names it may have.
    pub fn open(self, directory: &Path) -> Result<Splits> {
        match self {
            Self::Imdb => self.open_imdb(directory),
            Self::AgNews | Self::Dbpedia | Self::YelpPolarity | Self::YelpFull => self.open_zhang(directory),
            Self::Snli => {
                let find = |split| {
                    self.find(directory, &[&format!("snli_1.0_{split}.jsonl"), &format!("snli_1.0_{split}.txt")])
                };
                Ok(Splits {
                    train: inference(find("train")?),
                    dev: Some(("dev".into(), inference(find("dev")?))),
                    tests: vec![("test".into(), inference(find("test")?))],
                    labels: None,
                })
            }
            Self::Mnli => {
                let find = |split| {
                    let multinli = format!("multinli_1.0_{split}");
                    let files = [format!("{multinli}.jsonl"), format!("{multinli}.txt"), format!("{split}.tsv")];
                    self.find(directory, &files.each_ref().map(String::as_str))
                };
                Ok(Splits {
                    train: inference(find("train")?),
                    dev: Some(("dev_matched".into(), inference(find("dev_matched")?))),
                    tests: vec![("dev_mismatched".into(), inference(find("dev_mismatched")?))],
                    labels: None,
                })
            }
        }
    }

    fn open_imdb(self, directory: &Path) -> Result<Splits> {
        let labels = ["neg", "pos"].map(String::from).to_vec();
        let folders = |split| {
            let root = self.find(directory, &[split])?;
            for label in &labels {
                let folder = root.join(label);
                if !folder.is_dir() {
                    return Err(Error::table(folder, "no such folder; imdb has neg and pos under train and test"));
                }
            }
            Ok(Source::Folders(Folders { root, labels: labels.clone() }))
        };
        let map = LabelMap::from_names(labels.clone())?;
        Ok(Splits {
            train: folders("train")?,
            dev: None,
            tests: vec![("test".into(), folders("test")?)],
            labels: Some(map),
        })
    }

    fn open_zhang(self, directory: &Path) -> Result<Splits> {
        let train = self.find(directory, &["train.csv"])?;
        let classes = train.with_file_name("classes.txt");
        let class_names: Vec<String> = match fs::read_to_string(&classes) {
            Ok(text) => text.lines().map(str::trim).filter(|name| !name.is_empty()).map(String::from).collect(),
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => vec![],
            Err(fault) => return Err(Error::io("read", classes)(fault)),
        };
        let labels = match class_names.len() {
            0 => None,
            _ => Some(
                LabelMap::from_names(class_names.clone()).map_err(|fault| Error::table(classes, fault.to_string()))?,
            ),
        };
        let texts = match self {
            Self::AgNews | Self::Dbpedia => vec![ColumnRef::Index(1), ColumnRef::Index(2)],
            _ => vec![ColumnRef::Index(1)],
        };
        let table = |path| {
            let columns =
                Columns { text: texts.clone(), pair: None, label: Some(ColumnRef::Index(0)), kept: Vec::new() };
            let conventions =
                Conventions { escaped_newlines: true, class_names: class_names.clone(), ..Conventions::default() };
            Source::from(Table { path, format: Format::Csv, header: false, columns, conventions })
        };
        let test = self.find(directory, &["test.csv"])?;
        Ok(Splits { train: table(train), dev: None, tests: vec![("test".into(), table(test))], labels })
    }

    /// The first of `names` that exists in `directory` or in the folder its archive makes there.
    fn find(self, directory: &Path, names: &[&str]) -> Result<PathBuf> {
        let unpacked: &[&str] = match self {
            Self::Imdb => &["aclImdb"],
            Self::AgNews => &["ag_news_csv"],
            Self::Dbpedia => &["dbpedia_csv"],
            Self::YelpPolarity => &["yelp_review_polarity_csv"],
            Self::YelpFull => &["yelp_review_full_csv"],
            Self::Snli => &["snli_1.0"],
            Self::Mnli => &["multinli_1.0", "MNLI"],
        };
        let folders = std::iter::once(directory.to_path_buf()).chain(unpacked.iter().map(|name| directory.join(name)));
        let found =
            folders.flat_map(|folder| names.iter().map(move |name| folder.join(name))).find(|path| path.exists());
        found.ok_or_else(|| {
            let message =
                format!("preset {self} looks here, and in {}, for {}", unpacked.join(", "), names.join(" or "));
            Error::table(directory, message)
        })
    }
}

/// One file of SNLI, MultiNLI or GLUE's MNLI. All name their columns alike.
fn inference(path: PathBuf) -> Source {
    let format = match path.extension() {
        Some(extension) if extension == "jsonl" => Format::JsonLines,
        _ => Format::Tsv,
    };
    let columns = Columns::new("sentence1", Some("sentence2".into()), Some("gold_label".into()));
    // Rows of the .txt files end after the labels their annotators gave, which are one to five.
    let conventions = Conventions { ragged: true, ignored_labels: vec!["-".into()], ..Conventions::default() };
    Source::from(Table { path, format, header: true, columns, conventions })
}
