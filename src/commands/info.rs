//! `info`.

use crate::cli::InfoArgs;

pub fn run(_args: InfoArgs) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
