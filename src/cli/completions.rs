//! Options of `completions`.

use clap::Args;
use clap_complete::Shell;

#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// Shell to complete for; put the script where the shell looks for completions
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}
