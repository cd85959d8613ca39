//! Repository chores: `cargo xtask` without arguments lists them.

mod codegen;
mod cuda_ptx;
mod e2e;
mod gpu_bundle;
mod hunt;
mod picture;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

const USAGE: &str = "usage: cargo xtask tidy | codegen [--check] | trace-picture | cuda-ptx [--check] | gpu-bundle OUT DATA TOKENIZER [--rehearse] | e2e [--only vscode|nvim] [--images] | fuzz [messages|edits] [--minutes N] | sanitize";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["tidy"] => root().and_then(tidy::run),
        ["codegen"] => root().and_then(|root| codegen::run(root, codegen::Task::Write)),
        ["codegen", "--check"] => {
            root().and_then(|root| codegen::run(root, codegen::Task::Compare))
        }
        ["trace-picture"] => root().and_then(picture::run),
        ["cuda-ptx"] => root().and_then(|root| cuda_ptx::run(root, cuda_ptx::Task::Write)),
        ["cuda-ptx", "--check"] => {
            root().and_then(|root| cuda_ptx::run(root, cuda_ptx::Task::Compare))
        }
        ["gpu-bundle", out, data, tokenizer] => {
            let folders = [out, data, tokenizer];
            root().and_then(|root| gpu_bundle::run(root, folders, gpu_bundle::Kind::Cuda))
        }
        ["gpu-bundle", out, data, tokenizer, "--rehearse"] => {
            let folders = [out, data, tokenizer];
            root().and_then(|root| gpu_bundle::run(root, folders, gpu_bundle::Kind::Rehearsal))
        }
        ["e2e", ref rest @ ..] => root().and_then(|root| e2e::run(root, rest)),
        ["fuzz" | "sanitize", ..] => root().and_then(|root| hunt::run(root, &arguments)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root folder.
fn root() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")
}
