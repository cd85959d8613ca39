//! Runs the data and tokenizer subcommands alone.

use clap::Parser;
use diffcoder_train::data::command::{DataArgs, run_data};
use diffcoder_train::tokenizer_training::{TokenizerArgs, run_tokenizer};

#[derive(Parser)]
enum Command {
    /// Collect a corpus.
    Data(DataArgs),
    /// Train a tokenizer.
    Tokenizer(TokenizerArgs),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Data(args) => run_data(args),
        Command::Tokenizer(args) => run_tokenizer(args),
    }
}
