//! `eval`.

use crate::cli::EvalArgs;

pub fn run(_args: EvalArgs) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
