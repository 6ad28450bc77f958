//! `train`.

use crate::cli::TrainArgs;

pub fn run(_args: TrainArgs) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
