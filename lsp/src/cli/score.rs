//! `score`: how likely a part of a file is, token by token.

use std::io::{self, Write, stdout};
use std::ops::Range;
use std::process::ExitCode;

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::infiller::{InfillError, Infiller, Score, ScoreRequest, Task};
use diffcoder_lsp::config::Config;
use diffcoder_lsp::line_endings::normalise;
use diffcoder_lsp::position::{PositionEncoding, offset_to_line_col, offset_to_position};
use ropey::Rope;
use serde_json::{Value, json};

use super::interrupt::{self, Interrupt};
use super::model;
use super::paint::visible_controls;
use super::settings;
use super::source::Source;
use crate::args::{ScoreArgs, ScoreOutput};

/// Runs the command.
///
/// # Errors
///
/// One sentence for people; [`InfillError::Cancelled`] after Ctrl-C.
pub(crate) fn run(args: &ScoreArgs, config: &mut Config) -> anyhow::Result<ExitCode> {
    let source = Source::read(&args.file)?;
    let holes = source.holes(&[args.range], &[])?;
    let interrupt = Interrupt::install()?;
    let settings = settings::for_file(config, &args.file);
    for problem in config.take_problems() {
        writeln!(io::stderr(), "warning: {problem}")?;
    }
    let mut infiller = model::load(settings.model_dir())?;
    let span = holes.spans()[0].clone();
    score(args, (&source, span), infiller.as_mut(), (&interrupt.into_token(), &mut stdout()))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the model and prints what it says.
fn score(
    args: &ScoreArgs,
    (source, span): (&Source, Range<usize>),
    infiller: &mut dyn Infiller,
    (cancel, out): (&CancelToken, &mut dyn Write),
) -> anyhow::Result<()> {
    if let Some(reason) = infiller.refusal(Task::Score) {
        return Err(InfillError::BadRequest(reason).into());
    }
    let text = source.text();
    let request = ScoreRequest {
        document_key: args.file.display().to_string(),
        left: normalise(&text[..span.start]).into(),
        text: normalise(&text[span.clone()]).into(),
        right: normalise(&text[span.end..]).into(),
        alternatives: args.alternatives(),
    };
    let score = infiller.score(&request, cancel)?;
    interrupt::check(cancel)?;
    let judged =
        Judged { rope: Rope::from_str(text), start: span.start, text: &request.text, score };
    match args.output() {
        ScoreOutput::Table => judged.table(out)?,
        ScoreOutput::Json => {
            serde_json::to_writer(&mut *out, &judged.json())?;
            writeln!(out)?;
        }
    }
    Ok(out.flush()?)
}

/// A scored part of a file.
struct Judged<'a> {
    rope: Rope,
    /// Where the part begins.
    start: usize,
    /// The part; its lines end with `\n`.
    text: &'a str,
    score: Score,
}

impl Judged<'_> {
    /// The place in the file of a place in the part.
    fn original(&self, offset: usize) -> usize {
        let mut at = self.start;
        for char in self.text[..offset].chars() {
            at += char.len_utf8();
            // One of a pair in the file, and of one character in the part.
            if char == '\n' && self.rope.byte(at - 1) == b'\r' {
                at += 1;
            }
        }
        at
    }

    fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        for token in &self.score.tokens {
            let place =
                offset_to_line_col(&self.rope, self.original(token.bytes.start)).to_string();
            let best = token.alternatives.first().map_or(String::new(), |best| {
                format!("{:5.1} % {}", 100.0 * best.probability, shown(&best.text))
            });
            let probability = 100.0 * token.log_probability.exp();
            let own = shown(&self.text[token.bytes.clone()]);
            writeln!(out, "{place:>8}  {probability:5.1} %  {own:<20}  {best}")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let position =
            |offset| offset_to_position(&self.rope, self.original(offset), PositionEncoding::Utf16);
        let tokens: Vec<Value> = (self.score.tokens.iter())
            .map(|token| {
                let alternatives: Vec<Value> = (token.alternatives.iter())
                    .map(|likely| json!({ "text": likely.text, "probability": likely.probability }))
                    .collect();
                json!({
                    "range": {
                        "start": position(token.bytes.start), "end": position(token.bytes.end),
                    },
                    "text": self.text[token.bytes.clone()],
                    "log_probability": token.log_probability,
                    "alternatives": alternatives,
                })
            })
            .collect();
        json!({ "tokens": tokens })
    }
}

/// A token on one line of a terminal: its blanks can be seen.
fn shown(token: &str) -> String {
    visible_controls(token).replace(' ', "·").replace('\t', "→")
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use diffcoder_engine::infiller::{Frame, Infill, InfillRequest, LikelyToken, ScoredToken};

    use super::*;
    use crate::args::{Command, CommandLine};
    use crate::cli::test_support::write_file;

    /// Every character is a token with the probability 1/2.
    struct Halves;

    impl Infiller for Halves {
        fn infill(
            &mut self,
            _request: &InfillRequest,
            _cancel: &CancelToken,
            _on_frame: &mut dyn FnMut(&Frame),
        ) -> Result<Infill, InfillError> {
            Err(InfillError::Cancelled)
        }

        fn score(
            &mut self,
            request: &ScoreRequest,
            _cancel: &CancelToken,
        ) -> Result<Score, InfillError> {
            let token = |(start, char): (usize, char)| ScoredToken {
                bytes: start..start + char.len_utf8(),
                log_probability: 0.5_f64.ln(),
                alternatives: vec![LikelyToken { text: "é ".to_owned(), probability: 0.25 }],
            };
            Ok(Score { tokens: request.text.char_indices().map(token).collect() })
        }

        fn refusal(&self, _task: Task) -> Option<String> {
            None
        }

        fn model_name(&self) -> &str {
            "halves"
        }
    }

    fn printed(text: &str, options: &str) -> String {
        let (_folder, path) = write_file(text);
        let mut line = vec!["x", "score", path.to_str().unwrap()];
        line.extend(options.split(' '));
        let parsed = CommandLine::try_parse_from(line).unwrap();
        let Some(Command::Score(args)) = parsed.command else { panic!("`score` was given") };
        let source = Source::read(&args.file).unwrap();
        let span = source.holes(&[args.range], &[]).unwrap().spans()[0].clone();
        let mut out = Vec::new();
        score(&args, (&source, span), &mut Halves, (&CancelToken::new(), &mut out)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_token_has_a_line() {
        insta::assert_snapshot!(printed("a = 1\r\nb\r\n", "--range 1:4-2:2"), @"
             1:4   50.0 %  ·                      25.0 % é·
             1:5   50.0 %  1                      25.0 % é·
             1:6   50.0 %  ␊                      25.0 % é·
             2:1   50.0 %  b                      25.0 % é·
        ");
    }

    #[test]
    fn json_has_places_as_editors_count_them() {
        let out = printed("🙏\r\n🙏b\r\n", "--range 1:1-2:3 --json");
        let value: Value = serde_json::from_str(&out).unwrap();
        let starts: Vec<String> = value["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .map(|token| {
                format!(
                    "{}:{}",
                    token["range"]["start"]["line"], token["range"]["start"]["character"]
                )
            })
            .collect();
        assert_eq!(starts, ["0:0", "0:2", "1:0", "1:2"]);
        assert_eq!(value["tokens"][3]["text"], "b");
        assert_eq!(value["tokens"][3]["alternatives"][0]["probability"], 0.25);
        assert_eq!(out.lines().count(), 1);
    }
}
