//! `completions`.

use crate::cli::CompletionsArgs;

pub fn run(_args: CompletionsArgs) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
