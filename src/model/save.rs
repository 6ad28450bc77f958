//! Writing a model directory: whole, or not at all.
//!
//! The files go into a temporary directory beside the target and are flushed to the disk; then the directory is renamed
//! into place. Where an older model lies there the two are exchanged in one step (Linux), so that at every moment the
//! name leads to a complete model; elsewhere the older one is moved aside first and moved back on failure. The weights
//! are streamed from the arena through a small buffer, never copied whole.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};
use tempfile::TempDir;

use super::{Layout, Model, config_file, shards, tokenizer_files};
use crate::{Error, Result, Stop};

const BUFFER_BYTES: usize = 1 << 20;
/// Elements between two looks at whether to go on.
const STOP_ELEMENTS: usize = 1 << 20;
/// Elements after which the disk is waited for: such a wait cannot be called back, so it is not left to the end.
const SYNCHRONISE_ELEMENTS: usize = 8 << 20;
/// The data begins at a multiple of this, so that a reader's map is aligned.
const HEADER_ALIGN_BYTES: usize = 8;

pub(super) fn save(model: &Model, directory: &Path, weights: &[f32], stop: Stop<'_>) -> Result<()> {
    assert_eq!(weights.len(), model.layout.len, "the arena has the layout's length");
    // Through a link to what it points to: the link stays.
    let target = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    refuse_to_lose_files(&target)?;
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(Error::io("create directory", parent))?;
    let temporary = temporary_directory(parent, &target)?;

    let config = config_file::to_json(&model.raw, &model.config, &model.labels);
    let path = temporary.path().join(config_file::NAME);
    let json = serde_json::to_vec_pretty(&config).map_err(|error| Error::io("write", &path)(error.into()))?;
    write_file(&path, |file| file.write_all(&json).and_then(|()| file.write_all(b"\n")))?;
    for (name, bytes) in model.tokenizer.iter() {
        write_file(&temporary.path().join(name), |file| file.write_all(bytes))?;
    }
    let written =
        write_file(&temporary.path().join(shards::SINGLE), |file| write_tensors(file, &model.layout, weights, stop));
    // A write that was called off is no fault of the disk.
    stop.check().and(written)?;
    sync_directory(temporary.path())?;
    put_in_place(temporary, &target)?;
    sync_directory(parent)
}

/// The target may be absent, empty, or an older model; a directory with anything else in it is not ours to replace.
fn refuse_to_lose_files(target: &Path) -> Result<()> {
    let entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("list", target)(error)),
    };
    for entry in entries {
        let name = entry.map_err(Error::io("list", target))?.file_name();
        let known = name.to_str().is_some_and(|name| {
            name == config_file::NAME || name == shards::SINGLE || tokenizer_files::NAMES.contains(&name)
        });
        if !known {
            let message = format!(
                "holds '{}', which saving a model here would remove; choose another directory",
                name.to_string_lossy()
            );
            return Err(Error::model(target, message));
        }
    }
    Ok(())
}

/// Beside the target, thus on its file system; removed when dropped.
fn temporary_directory(parent: &Path, target: &Path) -> Result<TempDir> {
    let name = target.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    let prefix = format!(".{name}.");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp").tempdir_in(parent).map_err(Error::io("create a directory in", parent))
}

/// Creates, fills and flushes one file.
fn write_file(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let file = File::create_new(path).map_err(Error::io("create", path))?;
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
    fill(&mut writer).map_err(Error::io("write", path))?;
    let file = writer.into_inner().map_err(|error| Error::io("write", path)(error.into_error()))?;
    file.sync_all().map_err(Error::io("flush", path))
}

/// The safetensors format, all parameters float32 in the layout's order.
fn write_tensors(file: &mut BufWriter<File>, layout: &Layout, weights: &[f32], stop: Stop<'_>) -> io::Result<()> {
    let mut end = 0;
    let infos = layout.segments.iter().map(|segment| {
        let start = end;
        end += segment.elements() * size_of::<f32>();
        let info = TensorInfo { dtype: Dtype::F32, shape: segment.shape.clone(), data_offsets: (start, end) };
        (segment.name.clone(), info)
    });
    // Without "format" transformers refuses the file.
    let notes = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(notes), infos.collect()).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(HEADER_ALIGN_BYTES), b' ');
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let mut waiting = 0;
    for segment in &layout.segments {
        let part = &weights[segment.view.range()];
        for run in segment.runs(part).flat_map(|run| run.chunks(STOP_ELEMENTS)) {
            if stop.is_asked() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            for x in run {
                file.write_all(&x.to_le_bytes())?;
            }
            waiting += run.len();
            if waiting >= SYNCHRONISE_ELEMENTS {
                file.flush()?;
                file.get_ref().sync_data()?;
                waiting = 0;
            }
        }
    }
    Ok(())
}

/// Renames the filled directory to `target`; what was there is removed afterwards.
fn put_in_place(temporary: TempDir, target: &Path) -> Result<()> {
    if !target.exists() {
        let path = temporary.keep();
        return fs::rename(&path, target).map_err(|error| {
            // Best effort: the error to report is the rename's.
            let _ = fs::remove_dir_all(&path);
            Error::io("create", target)(error)
        });
    }
    if exchange(temporary.path(), target)? {
        // Now the temporary name leads to the older model.
        return temporary.close().map_err(Error::io("remove the older model of", target));
    }
    replace_in_two_steps(temporary, target)
}

/// For systems that cannot exchange. An interruption between the steps leaves the older model beside the target, as
/// `.old`.
fn replace_in_two_steps(temporary: TempDir, target: &Path) -> Result<()> {
    let aside = temporary.path().with_extension("old");
    fs::rename(target, &aside).map_err(Error::io("move aside", target))?;
    let path = temporary.keep();
    if let Err(error) = fs::rename(&path, target) {
        // Best effort, both: the error to report is the rename's.
        let _ = fs::rename(&aside, target);
        let _ = fs::remove_dir_all(&path);
        return Err(Error::io("replace", target)(error));
    }
    fs::remove_dir_all(&aside).map_err(Error::io("remove", aside))
}

/// Swaps two directories in one step; false where the system or the file system cannot.
#[cfg(target_os = "linux")]
fn exchange(one: &Path, other: &Path) -> Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(Error::io("replace", other)(error.into())),
    }
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> Result<bool> {
    Ok(false)
}

/// Makes renames in `directory` last.
fn sync_directory(directory: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(Error::io("flush", directory))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory `new` to move to `m`, in a home that has an `m` with `old` in it.
    fn prepared() -> (TempDir, TempDir) {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("m")).unwrap();
        fs::write(home.path().join("m/old"), "").unwrap();
        let temporary = temporary_directory(home.path(), &home.path().join("m")).unwrap();
        fs::write(temporary.path().join("new"), "").unwrap();
        (home, temporary)
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn two_steps_replace_and_clean_up() {
        let (home, temporary) = prepared();
        replace_in_two_steps(temporary, &home.path().join("m")).unwrap();
        assert_eq!(names(home.path()), ["m"]);
        assert_eq!(names(&home.path().join("m")), ["new"]);
    }

    #[test]
    fn two_steps_that_fail_leave_the_older_model() {
        let (home, temporary) = prepared();
        fs::remove_dir_all(temporary.path()).unwrap();
        assert!(replace_in_two_steps(temporary, &home.path().join("m")).is_err());
        assert_eq!(names(home.path()), ["m"]);
        assert_eq!(names(&home.path().join("m")), ["old"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_exchange_swaps_contents() {
        let (home, temporary) = prepared();
        // On a file system that cannot, both stay as they are, and the two steps do the work.
        let swapped = exchange(temporary.path(), &home.path().join("m")).unwrap();
        assert_eq!(names(&home.path().join("m")), [if swapped { "new" } else { "old" }]);
        assert_eq!(names(temporary.path()), [if swapped { "old" } else { "new" }]);
    }
}
