//! `infill`: fills holes of a file, prints the result and, if asked, writes the file.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::infiller::{Frame, HoleFill, Infill, InfillRequest, Infiller};
use diffcoder_lsp::config::{Config, Settings};

use super::apply;
use super::interrupt::{self, Interrupt};
use super::json;
use super::model;
use super::paint::Paint;
use super::progress::{FirstError, Progress, Screen, summary};
use super::render_diff::{self, Change};
use super::render_trace::TracePen;
use super::settings;
use super::source::{Holes, Source};
use crate::args::{Apply, InfillArgs, Output, Trace};

/// Where results and messages go.
struct Console<'a> {
    out: &'a mut dyn Write,
    out_paint: Paint,
    err_paint: Paint,
    progress: Progress<'a>,
}

/// Runs the command.
///
/// # Errors
///
/// One sentence for people; [`diffcoder_engine::infiller::InfillError::Cancelled`] after Ctrl-C.
pub(crate) fn run(args: &InfillArgs, config: &mut Config) -> anyhow::Result<ExitCode> {
    let (mut out, mut err) = (stdout(), stderr());
    let screen = if err.is_terminal() { Screen::Terminal } else { Screen::Log };
    let (out_paint, err_paint) = (Paint::for_stream(&out), Paint::for_stream(&err));
    let mut progress = Progress::new(&mut err, screen);
    // All that can be wrong with the file comes first: a large model takes a while to load.
    let source = Source::read(&args.file)?;
    let holes = source.holes(&args.place.resolve(), &args.keep)?;
    let settings = settings::for_file(config, &args.file);
    for problem in config.take_problems() {
        progress.say(&format!("warning: {problem}"));
    }
    let interrupt = Interrupt::install()?;
    progress.status("loading the model");
    let loaded = model::load(settings.model_dir());
    progress.clear();
    let mut infiller = loaded?;
    let mut console = Console { out: &mut out, out_paint, err_paint, progress };
    let cancel = interrupt.into_token();
    fill((args, &settings), &holes, infiller.as_mut(), (&cancel, &mut console))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the model, then applies and prints its fills.
fn fill(
    (args, settings): (&InfillArgs, &Settings),
    holes: &Holes<'_>,
    infiller: &mut dyn Infiller,
    (cancel, console): (&CancelToken, &mut Console<'_>),
) -> anyhow::Result<()> {
    let request = InfillRequest {
        instruction: args.instruction.as_deref().map(Into::into),
        limits: args.decode.limits(settings),
        sampling: args.decode.sampling(settings),
        mode: settings.fill_mode(),
        alternatives: args.alternatives(settings),
        ..InfillRequest::new(args.file.display().to_string(), holes.segments())
    };
    let asked = ask(args, &request, infiller, (cancel, console));
    console.progress.clear();
    let mut infill = asked?;
    interrupt::check(cancel)?;
    for fills in std::iter::once(&mut infill.holes).chain(&mut infill.alternatives) {
        holes.finish(fills);
    }
    let name = args.file.display().to_string();
    let source = holes.source();
    let filled = |fills: &[HoleFill]| holes.filled(fills.iter().map(|fill| fill.text.as_str()));
    let new = filled(&infill.holes);
    // The file comes before the output: a reader that leaves early does not keep it from being written.
    if args.apply() == Apply::Write && new != source.contents() {
        apply::write(source, &new)?;
        console.progress.say(&format!("wrote {name}"));
    }
    match args.output() {
        Output::Json => json::render(holes, &infill, request.alternatives, console.out)?,
        Output::Diff => {
            let change = Change { name: &name, old: source.contents(), new: &new };
            render_diff::render(&change, console.out_paint, console.out)?;
            if new == source.contents() {
                console.progress.say(&no_change(&infill.holes));
            }
            for (index, fills) in infill.alternatives.iter().enumerate() {
                let sure = mean_confidence(fills);
                writeln!(console.out, "\nalternative {}, confidence {sure:.2}:", index + 2)?;
                let new = filled(fills);
                let change = Change { name: &name, old: source.contents(), new: &new };
                render_diff::render(&change, console.out_paint, console.out)?;
            }
        }
    }
    console.out.flush()?;
    console.progress.say(&summary(
        infiller.model_name(),
        mean_confidence(&infill.holes),
        &infill.stats,
    ));
    Ok(())
}

/// Runs the model while the trace or the progress shows what it does.
fn ask(
    args: &InfillArgs,
    request: &InfillRequest,
    infiller: &mut dyn Infiller,
    (cancel, console): (&CancelToken, &mut Console<'_>),
) -> anyhow::Result<Infill> {
    let (stream, paint): (&mut dyn Write, Paint) = match (args.trace(), args.output()) {
        (Trace::Off, _) => {
            let mut on_frame = |frame: &Frame| console.progress.frame(frame);
            return Ok(infiller.infill(request, cancel, &mut on_frame)?);
        }
        (Trace::Draw, Output::Diff) => (&mut *console.out, console.out_paint),
        (Trace::Draw, Output::Json) => (console.progress.stream(), console.err_paint),
    };
    let mut pen = TracePen::new(stream, paint)?;
    let mut drawn = FirstError(Ok(()));
    let infill =
        infiller.infill(request, cancel, &mut |frame| drawn.attempt(|| pen.draw(frame)))?;
    // A trace that nobody reads any more is no reason to drop the fill; the diff will meet the same closed pipe.
    if let Err(error) = drawn.0 {
        tracing::debug!(%error, "the trace could not be drawn");
    }
    Ok(infill)
}

/// Geometric mean over the holes.
fn mean_confidence(fills: &[HoleFill]) -> f32 {
    let logs: f32 = fills.iter().map(|fill| fill.confidence.ln()).sum();
    (logs / fills.len().max(1) as f32).exp()
}

/// Why the diff is empty.
fn no_change(fills: &[HoleFill]) -> String {
    match (fills, fills.iter().all(|fill| fill.text.is_empty())) {
        ([_], true) => "the model left the hole empty".to_owned(),
        (_, true) => "the model left the holes empty".to_owned(),
        ([_], false) => "the fill equals what is there".to_owned(),
        (_, false) => "the fills equal what is there".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use diffcoder_engine::infiller::{InfillError, Segment};

    use super::*;
    use crate::args::{Command, CommandLine};
    use crate::cli::test_support::{Scripted, write_file};

    /// Runs `infill` with a scripted model on a file with `text`; stdout, stderr and the file afterwards.
    struct Ran {
        result: anyhow::Result<()>,
        out: String,
        err: String,
        file: String,
        request: Option<InfillRequest>,
    }

    fn run_on(text: &str, options: &str, cancel: &CancelToken) -> Ran {
        let (_folder, path) = write_file(text);
        let mut line = vec!["x", "infill", path.to_str().unwrap()];
        line.extend(options.split(' '));
        let parsed = CommandLine::try_parse_from(line).unwrap();
        let Some(Command::Infill(args)) = parsed.command else { panic!("`infill` was given") };
        let source = Source::read(&args.file).unwrap();
        let holes = source.holes(&args.place.resolve(), &args.keep).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut model = Scripted::new("one,\ntwo");
        let mut console = Console {
            out: &mut out,
            out_paint: Paint::Plain,
            err_paint: Paint::Plain,
            progress: Progress::new(&mut err, Screen::Log),
        };
        let result =
            fill((&args, &Settings::default()), &holes, &mut model, (cancel, &mut console));
        let shown =
            |bytes| String::from_utf8(bytes).unwrap().replace(path.to_str().unwrap(), "FILE");
        let file = fs::read_to_string(&path).unwrap();
        Ran { result, out: shown(out), err: shown(err), file, request: model.requests.pop() }
    }

    #[test]
    fn a_preview_leaves_the_file_alone() {
        let ran = run_on("f()\n", "--at 1:3", &CancelToken::new());
        ran.result.unwrap();
        insta::assert_snapshot!(ran.out, @r"
        --- FILE
        +++ FILE
        @@ -1 +1,2 @@
        -f()
        +f(one,
        +two)
        ");
        let summary = "scripted: 6 tokens in 4 forwards (1.5 per forward), 20 prompt tokens (4 cached), 1.2 s, confidence 0.75\n";
        assert_eq!(ran.err, summary);
        assert_eq!(ran.file, "f()\n");
    }

    #[test]
    fn write_replaces_the_selection_with_the_files_line_ends() {
        let ran = run_on("f(old)\r\n\r\n", "--range 1:3-1:6 --write", &CancelToken::new());
        ran.result.unwrap();
        assert_eq!(ran.file, "f(one,\r\ntwo)\r\n\r\n");
        assert!(ran.err.starts_with("wrote FILE\n"), "{}", ran.err);
        assert!(ran.out.contains("+f(one,\r\n"), "{}", ran.out);
        let segments = ran.request.unwrap().segments;
        let expected = [
            Segment::Text("f(".into()),
            Segment::Hole { draft: "old".into() },
            Segment::Text(")\n\n".into()),
        ];
        assert_eq!(segments, expected);
    }

    #[test]
    fn the_trace_precedes_the_diff() {
        let ran = run_on("f()\n", "--at 1:3 --trace", &CancelToken::new());
        ran.result.unwrap();
        let lines: Vec<&str> = ran.out.lines().take(4).collect();
        assert!(lines[0].contains("masked"));
        assert_eq!(lines[1..], ["  1 ░░x", "  2 one,⏎twox", "--- FILE"]);
    }

    #[test]
    fn json_keeps_stdout_to_itself() {
        let ran = run_on("f()\r\n", "--at 1:3 --trace --json", &CancelToken::new());
        ran.result.unwrap();
        let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(value["holes"][0]["text"], "one,\r\ntwo");
        assert_eq!(ran.out.lines().count(), 1);
        assert!(ran.err.contains("  1 ░░x\n"), "{}", ran.err);
    }

    #[test]
    fn a_cancelled_command_writes_nothing() {
        let cancel = CancelToken::new();
        cancel.cancel();
        let ran = run_on("f()\n", "--at 1:3 --write", &cancel);
        let error = ran.result.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(InfillError::Cancelled)));
        assert_eq!((ran.out.as_str(), ran.file.as_str()), ("", "f()\n"));
    }
}
