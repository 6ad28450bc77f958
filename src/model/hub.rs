//! From what the user calls a model to a directory: a directory as it is, or `owner/name` on the Hugging Face hub.
//!
//! The cache is the one that Python's `huggingface_hub` uses, so a model fetched by either is found by the other. A
//! complete snapshot in it is used without touching the network. Otherwise the files are fetched, all of one commit,
//! the weights last: a snapshot with weights is a whole one. Nothing waits for ever: when no byte has come for
//! [`Hub::patience`], the fetch is given up (its thread is left behind, as a blocked read cannot be called back).

use std::{
    env,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use hf_hub::{
    Cache, Repo, RepoType,
    api::sync::{ApiBuilder, ApiError, ApiRepo},
};

use super::{config_file, shards, tokenizer_files};
use crate::{Error, Result};

const ENDPOINT: &str = "https://huggingface.co";
const PATIENCE: Duration = Duration::from_secs(60);

/// Where models come from.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The directory with `models--owner--name` in it.
    pub cache: PathBuf,
    /// Where it answers.
    pub endpoint: String,
    /// For private models; without one, the token file beside the cache is used if it exists.
    pub token: Option<String>,
    /// Never use the network.
    pub offline: bool,
    /// How long no byte may come before a fetch is given up.
    pub patience: Duration,
}

/// How far the fetch of one file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Name of the file.
    pub file: String,
    /// What has come.
    pub done_bytes: u64,
    /// What will have come at the end.
    pub total_bytes: u64,
}

/// What the fetching thread says.
enum News {
    Progress(Download),
    End(std::result::Result<PathBuf, String>),
}

impl Hub {
    /// As the environment says: `HF_HUB_CACHE`, or `HF_HOME`/hub, or `XDG_CACHE_HOME`/huggingface/hub, or
    /// `~/.cache/huggingface/hub`; `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// [`Error::Setting`] when none of them gives a cache directory.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| env::var(name).ok())
    }

    /// [`Hub::from_env`] with the variables given by `lookup`.
    ///
    /// # Errors
    /// As [`Hub::from_env`].
    pub fn from_variables(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
            .or_else(|| path("HOME").map(|home| home.join(".cache/huggingface/hub")))
            .ok_or_else(|| Error::setting("HF_HOME", "neither it nor HOME is set; set it to a directory for models"))?;
        let cache = std::path::absolute(&cache).map_err(Error::io("find", &cache))?;
        let yes = |value: String| ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str());
        Ok(Self {
            cache,
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()),
            token: set("HF_TOKEN"),
            offline: set("HF_HUB_OFFLINE").is_some_and(yes),
            patience: PATIENCE,
        })
    }

    /// The directory of `model`, which is either one or the name of a model on the hub. `report` hears of a download's
    /// progress, many times a second.
    ///
    /// # Errors
    /// [`Error::Model`] when `model` can be neither; [`Error::Hub`], saying what was looked for, where, and what to do,
    /// when the hub's model is not complete in the cache and cannot be fetched.
    pub fn resolve(&self, model: &str, report: &mut dyn FnMut(Download)) -> Result<PathBuf> {
        let path = Path::new(model);
        if path.is_dir() {
            return Ok(path.to_owned());
        }
        if path.exists() {
            return Err(Error::model(path, "is a file; give the directory that holds config.json and the weights"));
        }
        if !is_hub_name(model) {
            let message = "there is no such directory, and it is no name on the Hugging Face hub (owner/name)";
            return Err(Error::model(path, message));
        }
        let missing = match self.cached(model) {
            Ok(snapshot) => return Ok(snapshot),
            Err(missing) => missing.join(", "),
        };
        let cause = match self.offline {
            true => "HF_HUB_OFFLINE is set".to_owned(),
            false => match self.fetch(model, report) {
                Ok(snapshot) => return Ok(snapshot),
                Err(cause) => format!("fetching it from {} failed: {cause}", self.endpoint),
            },
        };
        let place = self.cache.join(self.repo(model).folder_name());
        Err(Error::Hub {
            name: model.to_owned(),
            message: format!(
                "there is no directory of this name, the cache {} lacks {missing}, and {cause}; \
                 fetch it on a machine with a network ('hf download {model} --local-dir DIR'), copy it here and give \
                 DIR",
                place.display()
            ),
        })
    }

    fn repo(&self, model: &str) -> Repo {
        Repo::new(model.to_owned(), RepoType::Model)
    }

    /// The cached snapshot if it is complete, or what it lacks.
    fn cached(&self, model: &str) -> std::result::Result<PathBuf, Vec<String>> {
        let config = Cache::new(self.cache.clone()).repo(self.repo(model)).get(config_file::NAME);
        let snapshot = config.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let mut missing = Vec::new();
        if config.is_none() {
            missing.push(config_file::NAME.to_owned());
        }
        let has = |name: &str| config.is_some() && snapshot.join(name).exists();
        match shards::PLACES.iter().find(|(single, index)| has(single) || has(index)) {
            None => missing.push(shards::SINGLE.to_owned()),
            Some((single, _)) if has(single) => {}
            Some((_, index)) => {
                // What is wrong with a malformed index, loading it will say.
                let names = shards::shard_names(&snapshot.join(index)).unwrap_or_default();
                missing.extend(names.into_iter().filter(|name| !has(name)));
            }
        }
        if !has("tokenizer.json") && !has("vocab.txt") {
            missing.push("tokenizer.json".to_owned());
        }
        if missing.is_empty() { Ok(snapshot.to_owned()) } else { Err(missing) }
    }

    /// Fetches on a thread of its own and watches it. The error is a text.
    fn fetch(&self, model: &str, report: &mut dyn FnMut(Download)) -> std::result::Result<PathBuf, String> {
        let (sender, receiver) = mpsc::channel();
        let (hub, name) = (self.clone(), model.to_owned());
        thread::spawn(move || {
            let end = hub.fetch_files(&name, &sender);
            // Nobody listens when the patience is over.
            let _ = sender.send(News::End(end));
        });
        loop {
            match receiver.recv_timeout(self.patience) {
                Ok(News::Progress(download)) => report(download),
                Ok(News::End(end)) => return end,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("nothing came for {} s", self.patience.as_secs_f32()));
                }
                Err(RecvTimeoutError::Disconnected) => return Err("the answer made no sense".to_owned()),
            }
        }
    }

    fn fetch_files(&self, model: &str, news: &Sender<News>) -> std::result::Result<PathBuf, String> {
        let mut builder = ApiBuilder::from_cache(Cache::new(self.cache.clone()))
            .with_endpoint(self.endpoint.trim_end_matches('/').to_owned())
            .with_progress(false);
        if self.token.is_some() {
            builder = builder.with_token(self.token.clone());
        }
        let api = builder.build().map_err(|error| describe(&error))?;
        let main = self.repo(model);
        let cached = Cache::new(self.cache.clone()).repo(main.clone()).get(config_file::NAME);
        let config = match cached {
            Some(config) => config,
            None => download(&api.repo(main), config_file::NAME, news)?
                .ok_or("there is no such model, or it has no config.json")?,
        };
        let snapshot = config.parent().ok_or("the cache is malformed")?.to_owned();
        // All other files are of the commit that the configuration is of, whatever happens to "main" meanwhile.
        let commit = snapshot.file_name().and_then(|name| name.to_str()).ok_or("the cache is malformed")?;
        let pinned = api.repo(Repo::with_revision(model.to_owned(), RepoType::Model, commit.to_owned()));
        let get = |name: &str| match snapshot.join(name) {
            path if path.exists() => Ok(Some(path)),
            _ => download(&pinned, name, news),
        };
        for name in tokenizer_files::NAMES {
            get(name)?;
        }
        if !["tokenizer.json", "vocab.txt"].iter().any(|name| snapshot.join(name).exists()) {
            return Err("it has neither tokenizer.json nor vocab.txt".to_owned());
        }
        for (single, index) in shards::PLACES {
            if get(single)?.is_none() {
                let Some(index) = get(index)? else { continue };
                for name in shards::shard_names(&index).map_err(|error| error.to_string())? {
                    get(&name)?.ok_or_else(|| format!("the shard {name} of its index is not there"))?;
                }
            }
            return self.cached(model).map_err(|missing| format!("{} did not arrive", missing.join(", ")));
        }
        Err("it has no weights that can be read: neither safetensors nor pytorch_model.bin".to_owned())
    }
}

/// One or two components of the characters that the hub allows.
fn is_hub_name(name: &str) -> bool {
    let parts: Vec<_> = name.split('/').collect();
    let valid = |part: &&str| {
        part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && !part.contains("..")
            && !part.contains("--")
    };
    parts.len() <= 2 && parts.iter().all(valid)
}

/// The path of the fetched file, or `None` if the model has no such file.
fn download(repo: &ApiRepo, name: &str, news: &Sender<News>) -> std::result::Result<Option<PathBuf>, String> {
    let progress =
        Reporter { news: news.clone(), download: Download { file: name.to_owned(), done_bytes: 0, total_bytes: 0 } };
    match repo.download_with_progress(name, progress) {
        Ok(path) => Ok(Some(path)),
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(format!("{name}: {}", describe(&error))),
    }
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        _ => None,
    }
}

fn describe(error: &ApiError) -> String {
    match status(error) {
        Some(code @ (401 | 403)) => {
            format!("status {code}: no such model, or not a public one (for a private one, set HF_TOKEN)")
        }
        _ => error.to_string(),
    }
}

/// Passes the progress of one file on.
struct Reporter {
    news: Sender<News>,
    download: Download,
}

impl hf_hub::api::Progress for Reporter {
    fn init(&mut self, size: usize, _: &str) {
        (self.download.done_bytes, self.download.total_bytes) = (0, size as u64);
    }

    fn update(&mut self, size: usize) {
        self.download.done_bytes += size as u64;
        // Nobody listens when the patience is over.
        let _ = self.news.send(News::Progress(self.download.clone()));
    }

    fn finish(&mut self) {}
}
