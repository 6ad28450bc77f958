//! `predict`.

use crate::cli::PredictArgs;

pub fn run(_args: PredictArgs) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
