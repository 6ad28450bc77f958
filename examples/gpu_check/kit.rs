//! The folder that travels: programs, golden values, what they were built from.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::Arguments;

pub struct Kit {
    /// Holds `bin`, `tests/golden`, `peer` and `manifest`.
    root: PathBuf,
    pub out: PathBuf,
    pub rehearse: bool,
    pub python: PathBuf,
}

impl Kit {
    /// # Errors
    /// Where this program does not lie in a packed folder, or results cannot be written.
    pub fn find(arguments: &Arguments) -> anyhow::Result<Self> {
        let program = env::current_exe().context("where this program is")?;
        let root = program.ancestors().nth(2).unwrap_or(Path::new(".")).to_owned();
        ensure!(
            root.join("manifest").is_file(),
            "{} is no folder that `make gpu-check` packed: it has no manifest",
            root.display()
        );
        let out = arguments.out.clone().unwrap_or_else(|| root.join("results"));
        fs::create_dir_all(out.join("work")).with_context(|| format!("make {}", out.display()))?;
        Ok(Self { root, out, rehearse: arguments.rehearse, python: arguments.python.clone() })
    }

    /// Commit and compiler.
    pub fn describe(&self) -> String {
        let manifest = fs::read_to_string(self.root.join("manifest")).unwrap_or_default();
        let mode = if self.rehearse { ", rehearsed on the simulator" } else { "" };
        format!("gpu-check {}{mode}", manifest.lines().collect::<Vec<_>>().join(", "))
    }

    pub fn golden_model(&self) -> PathBuf {
        self.root.join("tests/golden/head64/model")
    }

    pub fn peer(&self) -> PathBuf {
        self.root.join("peer/gpu.py")
    }

    /// Files of steps; kept for the steps after them.
    pub fn work(&self, name: &str) -> PathBuf {
        self.out.join("work").join(name)
    }

    /// One of the packed programs, in an environment in which it finds the others.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.root.join("bin").join(program));
        self.prepare(&mut command);
        command
    }

    /// A program under another one, such as a profiler.
    pub fn under(&self, tool: &Path, tool_arguments: &[&str], program: &str) -> Command {
        let mut command = Command::new(tool);
        command.args(tool_arguments).arg(self.root.join("bin").join(program));
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        command
            .env("HF_HUB_OFFLINE", "1")
            .env("BERTSD_ROOT", &self.root)
            .env("BERTSD_PROGRAM", self.root.join("bin/bertsd-cuda"))
            .env("CUDASIM_LIBRARY", self.root.join("bin/libcuda.so"))
            .current_dir(&self.out);
        if self.rehearse {
            command.env("CUDASIM", "1");
        }
    }

    /// A tool on PATH, or where NVIDIA's packages put it.
    pub fn tool(&self, name: &str) -> Option<PathBuf> {
        if self.rehearse {
            return None;
        }
        let toolkit = [PathBuf::from("/usr/local/cuda/bin"), PathBuf::from("/usr/local/cuda/compute-sanitizer")];
        let compute =
            fs::read_dir("/opt/nvidia/nsight-compute").into_iter().flatten().flatten().map(|entry| entry.path());
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(toolkit)
            .chain(compute)
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    }
}
