//! `ensemble`.

use crate::cli::EnsembleArgs;

pub fn run(_args: EnsembleArgs) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
