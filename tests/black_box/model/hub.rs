//! Models by name: the cache alone, the network refused, and a small server that plays the hub.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use bertsd_cuda::{
    Error,
    model::{Hub, Model, Purpose},
};
use tempfile::TempDir;

use super::support::{Checkpoint, assert_mentions, golden, model_error};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn hub(cache: &Path, endpoint: &str) -> Hub {
    let offline = endpoint.is_empty();
    let endpoint = endpoint.to_owned();
    Hub { cache: cache.to_owned(), endpoint, token: None, offline, patience: Duration::from_secs(20) }
}

fn resolve(hub: &Hub, model: &str) -> Result<PathBuf, Error> {
    hub.resolve(model, &mut |_| {})
}

#[track_caller]
fn hub_error(result: Result<PathBuf, Error>) -> String {
    match result {
        Err(error @ Error::Hub { .. }) => error.to_string(),
        other => panic!("not a hub error: {other:?}"),
    }
}

/// A cache as `huggingface_hub` lays it out, with these files of a model directory.
fn cache_with(model: &str, source: &Path, names: &[&str]) -> (TempDir, PathBuf) {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join(format!("models--{}", model.replace('/', "--")));
    let snapshot = folder.join("snapshots").join(COMMIT);
    fs::create_dir_all(folder.join("refs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(folder.join("refs/main"), COMMIT).unwrap();
    for name in names {
        fs::copy(source.join(name), snapshot.join(name)).unwrap();
    }
    (cache, snapshot)
}

fn files_in(directory: &Path) -> HashMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

/// Answers like the hub, one request a connection, and remembers the paths asked for.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(files: HashMap<String, Vec<u8>>, answer: fn(&mut TcpStream, &str, &HashMap<String, Vec<u8>>)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mut stream, request) = read_request(stream);
                log.lock().unwrap().push(request.lines().next().unwrap_or_default().to_owned());
                answer(&mut stream, &request, &files);
            }
        });
        Self { url, asked }
    }
}

fn read_request(stream: TcpStream) -> (TcpStream, String) {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    while reader.read_line(&mut request).is_ok_and(|n| n > 2) {}
    (reader.into_inner(), request)
}

fn answer_as_hub(stream: &mut TcpStream, request: &str, files: &HashMap<String, Vec<u8>>) {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some(content) = files.get(name).filter(|_| path.starts_with("/own/model/resolve/")) else {
        let _ = write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    };
    let first_only = request.to_lowercase().contains("range: bytes=0-0");
    let body = if first_only { &content[..1.min(content.len())] } else { content };
    let _ = write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes 0-{}/{}\r\n\
         ETag: \"etag-{name}\"\r\nX-Repo-Commit: {COMMIT}\r\nConnection: close\r\n\r\n",
        body.len(),
        body.len().saturating_sub(1),
        content.len()
    );
    let _ = stream.write_all(body);
}

#[test]
fn a_directory_is_itself() {
    let nowhere = hub(Path::new("/nonexistent"), "");
    let path = golden("head64");
    assert_eq!(resolve(&nowhere, path.to_str().unwrap()).unwrap(), path);
    let file = path.join("config.json");
    assert_mentions(&model_error(resolve(&nowhere, file.to_str().unwrap())), &["is a file", "directory"]);
    for name in ["./nothing", "/no/thing", "a/b/c", "", "../x", "own/..", "own/mo del", "own/", "-x/y", "own/a--b"] {
        assert_mentions(&model_error(resolve(&nowhere, name)), &["no such directory", "owner/name"]);
    }
}

#[test]
fn a_complete_cache_is_used_without_a_network() {
    let names = ["config.json", "model.safetensors", "vocab.txt"];
    for model in ["own/model", "model"] {
        let (cache, snapshot) = cache_with(model, &golden("head64"), &names);
        assert_eq!(resolve(&hub(cache.path(), ""), model).unwrap(), snapshot);
        // Online too: nothing listens there.
        assert_eq!(resolve(&hub(cache.path(), "http://127.0.0.1:9"), model).unwrap(), snapshot);
    }
    let sharded = Checkpoint::head64().write_sharded();
    let names: Vec<_> = files_in(sharded.path()).into_keys().collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let (cache, snapshot) = cache_with("own/model", sharded.path(), &names);
    assert_eq!(resolve(&hub(cache.path(), ""), "own/model").unwrap(), snapshot);
    fs::remove_file(snapshot.join("model-00002-of-00002.safetensors")).unwrap();
    assert_mentions(&hub_error(resolve(&hub(cache.path(), ""), "own/model")), &["model-00002-of-00002.safetensors"]);
}

#[test]
fn offline_says_what_was_looked_for_where_and_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let place = cache.path().join("models--own--model");
    let text = hub_error(resolve(&hub(cache.path(), ""), "own/model"));
    let parts =
        ["'own/model'", "config.json, model.safetensors, tokenizer.json", "HF_HUB_OFFLINE", "hf download own/model"];
    assert_mentions(&text, &parts);
    assert_mentions(&text, &[place.to_str().unwrap()]);
    let (cache, _) = cache_with("own/model", &golden("head64"), &["config.json", "vocab.txt"]);
    assert_mentions(&hub_error(resolve(&hub(cache.path(), ""), "own/model")), &["lacks model.safetensors,"]);
}

#[test]
fn an_unreachable_hub_is_an_error_soon() {
    let cache = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = hub_error(resolve(&hub(cache.path(), &format!("http://{free}")), "own/model"));
    assert_mentions(&text, &[&format!("fetching it from http://{free} failed"), "config.json", "hf download"]);
}

#[test]
fn a_hub_that_falls_silent_is_given_up() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(HashMap::new(), |stream, _, _| {
        let _ = stream.read(&mut [0; 1]); // until the other side hangs up
    });
    let hub = Hub { patience: Duration::from_millis(300), ..hub(cache.path(), &server.url) };
    let start = Instant::now();
    assert_mentions(&hub_error(resolve(&hub, "own/model")), &["nothing came for 0.3 s"]);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn missing_files_are_fetched_once() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(files_in(&golden("head64")), answer_as_hub);
    let hub = hub(cache.path(), &server.url);
    let mut largest = HashMap::new();
    let snapshot = hub
        .resolve("own/model", &mut |download| {
            largest.insert(download.file, (download.done_bytes, download.total_bytes));
        })
        .unwrap();
    let length = fs::metadata(golden("head64").join("model.safetensors")).unwrap().len();
    assert_eq!(largest["model.safetensors"], (length, length));
    assert!(snapshot.ends_with(COMMIT), "{snapshot:?}");
    let weights = |path: &Path| Model::load(path, Purpose::Inference).unwrap().0.weights;
    assert_eq!(weights(&snapshot), weights(&golden("head64")));
    assert!(snapshot.join("tokenizer_config.json").exists() && !snapshot.join("tokenizer.json").exists());
    // All but the first file are asked for by commit.
    let asked = server.asked.lock().unwrap().clone();
    let by_commit = format!("/resolve/{COMMIT}/");
    assert!(asked.iter().all(|line| line.contains("/config.json") || line.contains(&by_commit)), "{asked:?}");
    assert_eq!(resolve(&hub, "own/model").unwrap(), snapshot);
    assert_eq!(server.asked.lock().unwrap().len(), asked.len(), "the second time asks for nothing");
}

#[test]
fn shards_are_fetched() {
    let cache = tempfile::tempdir().unwrap();
    let sharded = Checkpoint::head64().write_sharded();
    let server = Server::start(files_in(sharded.path()), answer_as_hub);
    let snapshot = resolve(&hub(cache.path(), &server.url), "own/model").unwrap();
    let (model, _) = Model::load(&snapshot, Purpose::Inference).unwrap();
    assert_eq!(model.weights, Model::load(&golden("head64"), Purpose::Inference).unwrap().0.weights);
}

#[test]
fn a_repository_without_the_needed_files_is_named() {
    let serve = |removed: &str| {
        let cache = tempfile::tempdir().unwrap();
        let mut files = files_in(&golden("head64"));
        files.remove(removed).unwrap();
        let server = Server::start(files, answer_as_hub);
        hub_error(resolve(&hub(cache.path(), &server.url), "own/model"))
    };
    assert_mentions(&serve("config.json"), &["no such model"]);
    assert_mentions(&serve("model.safetensors"), &["no weights that can be read", "pytorch_model.bin"]);
    assert_mentions(&serve("vocab.txt"), &["neither tokenizer.json nor vocab.txt"]);
}

#[test]
fn a_private_model_asks_for_a_token() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(HashMap::new(), |stream, request, _| {
        let code = if request.to_lowercase().contains("authorization: bearer secret") { 404 } else { 401 };
        let _ = write!(stream, "HTTP/1.1 {code} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let anonymous = hub(cache.path(), &server.url);
    assert_mentions(&hub_error(resolve(&anonymous, "own/model")), &["status 401", "HF_TOKEN"]);
    let known = Hub { token: Some("secret".to_owned()), ..anonymous };
    assert_mentions(&hub_error(resolve(&known, "own/model")), &["no such model"]);
}

#[test]
fn the_environment_decides() {
    let with = |pairs: &[(&str, &str)]| {
        let map: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Hub::from_variables(move |name| map.get(name).cloned())
    };
    let cache = |pairs: &[(&str, &str)]| with(pairs).unwrap().cache;
    assert_eq!(cache(&[("HOME", "/h")]), Path::new("/h/.cache/huggingface/hub"));
    assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hub"));
    assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "/f"), ("XDG_CACHE_HOME", "/c")]), Path::new("/f/hub"));
    assert_eq!(cache(&[("HF_HUB_CACHE", "/x"), ("HF_HOME", "/f")]), Path::new("/x"));
    assert_eq!(cache(&[("HF_HOME", ""), ("HOME", "/h")]), Path::new("/h/.cache/huggingface/hub"));
    assert!(cache(&[("HF_HUB_CACHE", "relative")]).is_absolute());
    assert!(with(&[]).unwrap_err().to_string().contains("HF_HOME"));
    for (value, offline) in [("1", true), ("ON", true), ("True", true), ("yes", true), ("0", false), ("", false)] {
        assert_eq!(with(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).unwrap().offline, offline, "{value}");
    }
    let custom = with(&[("HOME", "/h"), ("HF_ENDPOINT", "http://mirror"), ("HF_TOKEN", "t")]).unwrap();
    assert_eq!((custom.endpoint.as_str(), custom.token.as_deref()), ("http://mirror", Some("t")));
}
