//! What can be typed.

use clap::{Args, Parser, Subcommand};

use crate::options::Common;
use crate::verbs::Verb;

#[derive(Debug, Parser)]
#[command(
    name = "ruvector",
    version,
    about = "Replicated state, leader election and quorum decisions, as one program.",
    after_help = "Examples:
  ruvector consensus init                    a three-node cluster on this machine
  ruvector consensus put greeting hello
  ruvector consensus status --detailed
  ruvector completion bash > ~/.local/share/bash-completion/completions/ruvector"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) area: Area,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Area {
    /// Run and operate consensus clusters.
    Consensus(Box<Consensus>),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:
  ruvector completion zsh > ~/.zfunc/_ruvector")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write manual pages.
    #[command(
        hide = true,
        after_help = "Example:
  ruvector man ~/.local/share/man/man1"
    )]
    Man {
        /// Where to.
        directory: std::path::PathBuf,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus init --nodes 3          make a cluster on this machine and start it
  ruvector consensus put greeting hello      use it
  ruvector consensus get greeting
  ruvector consensus watch --prefix \"\"       see every change as it happens
  ruvector consensus status --detailed       see how every node does
  ruvector consensus stop                    end it; `start` goes on, `destroy` removes it")]
pub(crate) struct Consensus {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
