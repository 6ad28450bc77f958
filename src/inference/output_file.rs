//! Where answers go: a file that appears when it is complete, or a stream.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use crate::{Error, Result, checkpoint::AtomicFile};

/// How errors call standard output.
pub const STANDARD_OUTPUT: &str = "standard output";

/// A buffered output. A regular file gets its name only in [`OutputFile::finish`]; what is there under the name stays
/// as it is until then, and for good if something fails. Pipes, terminals and devices are written as they are.
pub struct OutputFile {
    path: PathBuf,
    sink: Sink,
}

enum Sink {
    Atomic(BufWriter<AtomicFile>),
    Stream(BufWriter<Box<dyn Write>>),
}

impl OutputFile {
    /// `-` is standard output. `inputs` are what the answers are made from.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made, before anything is computed for it; [`Error::Setting`] when it is
    /// one of the inputs, which it would replace.
    pub fn create(path: &Path, inputs: &[&Path]) -> Result<Self> {
        if path == Path::new("-") {
            let sink = Sink::Stream(BufWriter::new(Box::new(io::stdout())));
            return Ok(Self { path: STANDARD_OUTPUT.into(), sink });
        }
        let real = |path: &Path| std::fs::canonicalize(path).ok().filter(|real| real.is_file());
        if let Some(target) = real(path)
            && inputs.iter().any(|input| real(input).as_ref() == Some(&target))
        {
            let message = "is what is read, and the answers would replace it; name another file";
            return Err(Error::setting(path.display().to_string(), message));
        }
        let special = std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
        let sink = match special {
            true => {
                let file = File::options().write(true).open(path).map_err(Error::io("open", path))?;
                Sink::Stream(BufWriter::new(Box::new(file)))
            }
            false => Sink::Atomic(BufWriter::new(AtomicFile::create(path)?)),
        };
        Ok(Self { path: path.to_owned(), sink })
    }

    /// The file, or [`STANDARD_OUTPUT`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends text.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.sink {
            Sink::Atomic(file) => file.write_all(bytes),
            Sink::Stream(stream) => stream.write_all(bytes),
        }
        .map_err(Error::io("write", &self.path))
    }

    /// Hands what was written to whoever reads a stream; a file has no reader yet.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.sink {
            Sink::Atomic(_) => Ok(()),
            Sink::Stream(stream) => stream.flush().map_err(Error::io("write", &self.path)),
        }
    }

    /// Completes the output and, if it is a file, gives it its name.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written or renamed.
    pub fn finish(self) -> Result<()> {
        match self.sink {
            Sink::Atomic(file) => {
                let failed = |fault: io::IntoInnerError<_>| Error::io("write", &self.path)(fault.into_error());
                file.into_inner().map_err(failed)?.commit()
            }
            Sink::Stream(mut stream) => stream.flush().map_err(Error::io("write", &self.path)),
        }
    }
}
