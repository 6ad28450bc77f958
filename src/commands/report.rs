//! `report`.

use crate::cli::ReportArgs;

pub fn run(_args: ReportArgs) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
