//! The command line as it is written: options, their help and the mistakes that parsing alone can find.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use diffcoder_engine::infiller::{DecodeOrder, InfillLimits, Sampling, Unmasking};
use diffcoder_lsp::config::Settings;
use diffcoder_lsp::position::{LineCol, PositionError, parse_line_col_range};

/// Infills code with a block-diffusion language model on this machine.
///
/// Without a command it is a language server on stdin and stdout.
#[derive(Debug, Parser)]
#[command(name = "diffcoder-lsp", version)]
pub(crate) struct CommandLine {
    /// Model directory with config.json, tokenizer.json and safetensors [default: server.model, or the embedded model]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,

    /// Set a setting, such as completion.maxTokens=32; may be repeated. docs/configuration.md lists them
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,

    /// Most tokens of other files in a prompt [default: a quarter of the context where the model was trained for it]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) related_tokens: Option<usize>,

    // Editors pass it to every server, and stdio is the only transport.
    #[arg(long, hide = true)]
    stdio: bool,

    /// `None` serves the protocol.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl CommandLine {
    /// What this process was started with; ends it where that is wrong.
    pub(crate) fn of_process() -> Self {
        let line = Self::parse();
        let reads_files = matches!(line.command, None | Some(Command::Bench(_)));
        if line.related_tokens.is_some() && !reads_files {
            let reason = "--related-tokens is for the server and `bench`: no other command reads other files";
            Self::command().error(ErrorKind::ArgumentConflict, reason).exit();
        }
        line
    }
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fill a hole in a file and print the change as a unified diff
    Infill(Box<InfillArgs>),
    /// Tell how likely a part of a file is, token by token
    Score(ScoreArgs),

    /// Check everything that suggestions need, and say how to mend what is wrong
    Doctor(DoctorArgs),

    /// Show how many suggestions were shown and accepted on this machine, and how long they took
    Stats(StatsArgs),

    /// Print what `cargo xtask codegen` writes into files
    #[command(hide = true)]
    Generated,
    /// Measure a server the way an editor uses it
    #[command(subcommand)]
    Bench(BenchCommand),
}

/// Options of `score`.
#[derive(Args, Debug)]
#[command(after_help = "\
Lines and columns count from 1, columns in characters. Each token is judged given all text left of it and the text right of the
range. The table goes to stdout: the token's place, its probability, the likeliest token there with its own, and the token.

Examples:
  diffcoder-lsp score src/lib.rs --range 12:1-14:1
  diffcoder-lsp score src/lib.rs --range 12:1-14:1 --json

--json prints {\"tokens\":[{\"range\",\"text\",\"log_probability\",\"alternatives\":[{\"text\",\"probability\"}]}]}. As in the language server
protocol, lines and characters of its ranges count from 0, characters in UTF-16 code units.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.")]
pub(crate) struct ScoreArgs {
    /// Source file
    pub(crate) file: PathBuf,

    /// From the first position up to the second, which is exclusive
    #[arg(long, value_name = "L:C-L:C")]
    pub(crate) range: LineColRange,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,

    /// How many of the likeliest tokens of each place are given
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(0..=16))]
    alternatives: u8,
}

impl ScoreArgs {
    /// The chosen form of the result.
    pub(crate) fn output(&self) -> ScoreOutput {
        if self.json { ScoreOutput::Json } else { ScoreOutput::Table }
    }

    /// Likeliest tokens wanted for each place.
    pub(crate) fn alternatives(&self) -> usize {
        self.alternatives.into()
    }
}

/// Which form the result of `score` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScoreOutput {
    /// A line for each token.
    Table,
    /// One line of JSON.
    Json,
}

/// Options of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = "Exit status: 0 everything works, 1 something does not.")]
pub(crate) struct DoctorArgs {
    /// Print {\"ok\", \"checks\": [{\"name\", \"verdict\", \"found\", \"mend\"}]} instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `stats`.
#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Print one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Type pieces of files again, key by key, and print how long suggestions took and what they were worth
    Replay(Box<ReplayArgs>),
}

/// Options of `bench replay`.
#[derive(Args, Debug)]
#[command(after_help = "\
This program is started as a server. Pieces of one to four lines are taken out of the files, which are open in it, and
typed again with a request for a suggestion after every key. Brackets close themselves as in an editor. A key after a
jump of the cursor is cold, every other one warm. The files on disk stay as they are.")]
pub(crate) struct ReplayArgs {
    /// Source files
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Pieces of each file to type
    #[arg(long, value_name = "N", default_value = "4")]
    pub(crate) hunks: NonZeroUsize,

    /// Milliseconds from key to key; 0 waits for each answer
    #[arg(long, value_name = "MS", default_value = "0")]
    pub(crate) interval: u64,

    /// Type in this many documents at the same time; files are opened more than once where there are fewer
    #[arg(long, value_name = "N")]
    pub(crate) at_once: Option<NonZeroUsize>,

    /// Measure another build of the server
    #[arg(long, value_name = "BINARY")]
    pub(crate) server: Option<PathBuf>,

    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `infill`.
#[derive(Args, Debug)]
#[command(after_help = "\
Lines and columns count from 1, columns in characters. The diff goes to stdout, progress to stderr.

Examples:
  diffcoder-lsp infill src/lib.rs --at 12:5
  diffcoder-lsp infill src/lib.rs --range 12:5-14:1 --write
  diffcoder-lsp infill src/lib.rs --at 12:5 --at 20:9 --range 31:1-33:1
  diffcoder-lsp infill src/lib.rs --at 12:5 --trace --steps 4

Several holes are filled jointly, the surest first.

--json prints {\"holes\":[{\"range\",\"text\",\"confidence\"}],\"stats\":{...}}, holes in reading order, with --alternatives also
\"alternatives\":[[{...}]]. As in the language server protocol, lines and characters of its ranges count from 0, characters in
UTF-16 code units.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.")]
pub(crate) struct InfillArgs {
    /// Source file with the hole
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) place: PlaceArgs,

    /// Keep this text within a --range as it is; may be repeated
    #[arg(long, value_name = "L:C-L:C")]
    pub(crate) keep: Vec<LineColRange>,

    /// Change the file
    #[arg(long)]
    write: bool,

    /// Draw the canvas after every denoising step
    #[arg(long)]
    trace: bool,

    /// Print the fill as JSON instead of a diff; the trace then goes to stderr
    #[arg(long)]
    json: bool,

    /// Show up to this many different results, the most confident first; --write takes the first
    ///
    /// [default: infill.alternatives of the settings, 1]
    #[arg(long, value_name = "N")]
    alternatives: Option<NonZeroUsize>,

    /// What to do with the holes, for a model that follows instructions
    #[arg(long, value_name = "TEXT")]
    pub(crate) instruction: Option<String>,

    #[command(flatten)]
    pub(crate) decode: DecodeArgs,
}

/// Where the holes are; at least one.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct PlaceArgs {
    /// Insert at this position; may be repeated
    #[arg(long, value_name = "LINE:COL")]
    at: Vec<LineCol>,

    /// Replace from the first position up to the second, which is exclusive; may be repeated
    #[arg(long, value_name = "L:C-L:C")]
    range: Vec<LineColRange>,
}

/// Options of the decode loop.
#[derive(Args, Debug)]
pub(crate) struct DecodeArgs {
    /// Most tokens of the fill [default: infill.maxTokens of the settings, 64]
    #[arg(long, value_name = "N")]
    max_tokens: Option<NonZeroUsize>,

    /// Confidence from 0 to 1 at which a token is committed; the first one of a step always is [default: decode.threshold
    /// of the settings, 0.95]
    #[arg(long, value_name = "P", value_parser = parse_probability, allow_negative_numbers = true, conflicts_with = "steps")]
    threshold: Option<f64>,

    /// Which tokens are committed first, surest-first or left-to-right [default: decode.order of the settings, as the model is served]
    #[arg(long)]
    order: Option<DecodeOrder>,

    /// Commit by a fixed plan: this many denoising steps for each block
    #[arg(long, value_name = "N")]
    steps: Option<NonZeroUsize>,

    /// 0 takes the most likely tokens, above it they are drawn
    #[arg(long, value_name = "T", default_value = "0", value_parser = parse_temperature, allow_negative_numbers = true)]
    temperature: f64,

    /// Draw only from the most likely tokens that together have this probability
    #[arg(long, value_name = "P", default_value = "1", value_parser = parse_top_p, allow_negative_numbers = true)]
    top_p: f64,

    /// Seed of the draws
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,

    /// Copy-draft: commit a token that goes on with what stood behind the same text before from this confidence on; 1 switches
    /// it off [default: as the model is served]
    #[arg(long, value_name = "P", value_parser = parse_probability, allow_negative_numbers = true)]
    copy_draft: Option<f64>,

    /// Self-speculative decoding: compute what is probably needed next ahead, from this probability on; it changes no fill, only
    /// how many forwards it takes; 1 switches it off [default: as the model is served]
    #[arg(long, value_name = "P", value_parser = parse_probability, allow_negative_numbers = true)]
    speculate: Option<f64>,
}

/// A hole's two ends; equal at a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineColRange {
    /// First position of the hole.
    pub(crate) start: LineCol,
    /// First position after it.
    pub(crate) end: LineCol,
}

impl FromStr for LineColRange {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (start, end) = parse_line_col_range(text)?;
        Ok(Self { start, end })
    }
}

impl PlaceArgs {
    /// The holes' ends, at least one.
    pub(crate) fn resolve(&self) -> Vec<LineColRange> {
        let cursors = self.at.iter().map(|&at| LineColRange { start: at, end: at });
        cursors.chain(self.range.iter().copied()).collect()
    }
}

/// Which form the result takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// A unified diff, in colour where stdout shows it.
    Diff,
    /// One line of JSON.
    Json,
}

/// Whether the denoising steps are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    /// A line for every step.
    Draw,
    /// Nothing but the result.
    Off,
}

/// What happens to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apply {
    /// It stays as it is.
    Preview,
    /// The fill is written into it.
    Write,
}

impl InfillArgs {
    /// The chosen form of the result.
    pub(crate) fn output(&self) -> Output {
        if self.json { Output::Json } else { Output::Diff }
    }

    /// Whether to draw.
    pub(crate) fn trace(&self) -> Trace {
        if self.trace { Trace::Draw } else { Trace::Off }
    }

    /// How many results are wanted.
    pub(crate) fn alternatives(&self, settings: &Settings) -> usize {
        self.alternatives.map_or(settings.infill.alternatives, NonZeroUsize::get)
    }

    /// Whether to change the file.
    pub(crate) fn apply(&self) -> Apply {
        if self.write { Apply::Write } else { Apply::Preview }
    }
}

impl DecodeArgs {
    /// Bounds of the fill. It has no deadline: who waits at a terminal can interrupt.
    pub(crate) fn limits(&self, settings: &Settings) -> InfillLimits {
        let max_tokens = self.max_tokens.map_or(settings.infill.max_tokens, NonZeroUsize::get);
        InfillLimits { max_tokens, ..InfillLimits::default() }
    }

    /// How tokens are chosen.
    pub(crate) fn sampling(&self, settings: &Settings) -> Sampling {
        let usual = settings.sampling();
        let unmasking = match (self.steps, self.threshold) {
            (Some(steps), _) => Unmasking::Static { steps_per_block: steps.get() },
            (None, Some(threshold)) => Unmasking::Threshold(threshold),
            (None, None) => usual.unmasking,
        };
        Sampling {
            unmasking,
            order: self.order.or(usual.order),
            temperature: self.temperature,
            top_p: self.top_p,
            seed: self.seed,
            copy_draft: self.copy_draft,
            speculate: self.speculate,
        }
    }
}

fn parse_probability(text: &str) -> Result<f64, String> {
    number_where(text, "from 0 to 1", |number| (0.0..=1.0).contains(&number))
}

fn parse_top_p(text: &str) -> Result<f64, String> {
    number_where(text, "above 0 and at most 1", |number| number > 0.0 && number <= 1.0)
}

fn parse_temperature(text: &str) -> Result<f64, String> {
    number_where(text, "from 0 up", |number| number >= 0.0 && number.is_finite())
}

fn number_where(text: &str, bounds: &str, holds: fn(f64) -> bool) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| holds(*number));
    number.ok_or_else(|| format!("write a number {bounds}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use diffcoder_lsp::config::Order;

    use super::*;

    fn infill(options: &[&str]) -> Result<Box<InfillArgs>, String> {
        let fixed = ["diffcoder-lsp", "infill", "a.rs"];
        let parsed = CommandLine::try_parse_from(fixed.iter().chain(options));
        let Some(Command::Infill(args)) = parsed.map_err(|error| error.to_string())?.command else {
            panic!("`infill` was given");
        };
        Ok(args)
    }

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves() {
        for line in [&["diffcoder-lsp"][..], &["diffcoder-lsp", "--stdio", "--model", "m"]] {
            assert!(CommandLine::try_parse_from(line).unwrap().command.is_none());
        }
    }

    #[test]
    fn the_model_may_stand_on_either_side_of_the_command() {
        for line in ["x --model m infill a.rs --at 1:1", "x infill a.rs --at 1:1 --model m"] {
            let parsed = CommandLine::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(parsed.model.as_deref(), Some(std::path::Path::new("m")));
        }
    }

    #[test]
    fn a_cursor_is_an_empty_range() {
        let at = LineCol { line: 3, column: 7 };
        let args = infill(&["--at", "3:7"]).unwrap();
        assert_eq!(args.place.resolve(), [LineColRange { start: at, end: at }]);
        let args = infill(&["--range", "3:7-4:1"]).unwrap();
        let end = LineCol { line: 4, column: 1 };
        assert_eq!(args.place.resolve(), [LineColRange { start: at, end }]);
        let args = infill(&["--range", "3:7-4:1", "--at", "9:1", "--at", "2:2"]).unwrap();
        assert_eq!(args.place.resolve().len(), 3);
    }

    #[test]
    fn decode_options_reach_the_engine() {
        let args = infill(&["--at", "1:1"]).unwrap();
        let settings = Settings::default();
        assert_eq!(args.decode.sampling(&settings), Sampling::default());
        assert_eq!(args.decode.limits(&settings), InfillLimits::default());
        assert_eq!(args.alternatives(&settings), 1);
        let args =
            infill(&["--at", "1:1", "--steps", "2", "--seed", "9", "--top-p", "0.5"]).unwrap();
        let expected = Sampling {
            unmasking: Unmasking::Static { steps_per_block: 2 },
            top_p: 0.5,
            seed: 9,
            ..Sampling::default()
        };
        assert_eq!(args.decode.sampling(&settings), expected);
    }

    #[test]
    fn what_the_line_leaves_open_the_settings_say() {
        let mut settings = Settings::default();
        settings.infill.max_tokens = 7;
        settings.infill.alternatives = 3;
        settings.decode.threshold = 0.5;
        let args = infill(&["--at", "1:1"]).unwrap();
        assert_eq!(args.decode.limits(&settings).max_tokens, 7);
        assert_eq!(args.decode.sampling(&settings).unmasking, Unmasking::Threshold(0.5));
        assert_eq!(args.alternatives(&settings), 3);
        let options =
            ["--at", "1:1", "--max-tokens", "9", "--threshold", "1", "--alternatives", "2"];
        let args = infill(&options).unwrap();
        assert_eq!(args.decode.limits(&settings).max_tokens, 9);
        assert_eq!(args.decode.sampling(&settings).unmasking, Unmasking::Threshold(1.0));
        assert_eq!(args.alternatives(&settings), 2);
        assert_eq!(args.decode.sampling(&settings).order, None, "that of the model");
        settings.decode.order = Order::SurestFirst;
        assert_eq!(args.decode.sampling(&settings).order, Some(DecodeOrder::SurestFirst));
        let args = infill(&["--at", "1:1", "--order", "left-to-right"]).unwrap();
        assert_eq!(args.decode.sampling(&settings).order, Some(DecodeOrder::LeftToRight));
    }

    #[test]
    fn wrong_options_are_named() {
        for (options, expected) in [
            (&["--at", "12"][..], "write LINE:COL"),
            (&["--at", "0:1"], "write LINE:COL"),
            (&["--range", "2:1-1:1"], "swap its two ends"),
            (&[], "--at <LINE:COL>|--range"),
            (&["--at", "1:1", "--alternatives", "0"], "--alternatives"),
            (&["--at", "1:1", "--threshold", "1.5"], "write a number from 0 to 1"),
            (&["--at", "1:1", "--threshold", "NaN"], "write a number from 0 to 1"),
            (&["--at", "1:1", "--top-p", "0"], "above 0 and at most 1"),
            (&["--at", "1:1", "--temperature", "-1"], "write a number from 0 up"),
            (&["--at", "1:1", "--temperature", "inf"], "write a number from 0 up"),
            (&["--at", "1:1", "--steps", "0"], "--steps"),
            (&["--at", "1:1", "--max-tokens", "0"], "--max-tokens"),
            (&["--at", "1:1", "--steps", "2", "--threshold", "0.5"], "cannot be used with"),
        ] {
            let message = infill(options).unwrap_err();
            assert!(message.contains(expected), "{options:?}: {message}");
        }
    }
}
