//! From what the user calls a model to the directory with its `config.json`.

use std::path::{Path, PathBuf};

use crate::{
    Error, Result,
    model::{Hub, hub::Download},
};

/// The subdirectory of a run in which training leaves the finished model.
const MODEL_OF_RUN: &str = "model";
const CONFIG: &str = "config.json";

/// The directory of `model`: a Hugging Face directory, the directory of a finished run, or a name on the hub. `report`
/// hears of a download's progress.
///
/// # Errors
/// [`Error::Run`] for a run that has no model yet, and as [`Hub::resolve`].
pub fn locate(model: &str, report: &mut dyn FnMut(Download)) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.is_dir() && !path.join(CONFIG).exists() {
        let inner = path.join(MODEL_OF_RUN);
        if inner.join(CONFIG).exists() {
            return Ok(inner);
        }
        if path.join("run.toml").exists() {
            let message = format!("this run has no model yet; finish it with: bertsd-cuda train --resume {model}");
            return Err(Error::run(path, message));
        }
    }
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    Hub::from_env()?.resolve(model, report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_leads_to_its_model_and_an_unfinished_one_is_named() {
        let home = tempfile::tempdir().unwrap();
        let name = home.path().to_str().unwrap();
        let find = || locate(name, &mut |_| {});
        assert_eq!(find().unwrap(), home.path());
        std::fs::write(home.path().join("run.toml"), "").unwrap();
        assert!(find().unwrap_err().to_string().contains("train --resume"));
        std::fs::create_dir(home.path().join("model")).unwrap();
        std::fs::write(home.path().join("model/config.json"), "{}").unwrap();
        assert_eq!(find().unwrap(), home.path().join("model"));
        // A model directory is itself, whatever else lies in it.
        std::fs::write(home.path().join("config.json"), "{}").unwrap();
        assert_eq!(find().unwrap(), home.path());
    }
}
