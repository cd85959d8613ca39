//! The result as JSON for scripts; its keys and units are a contract.

use std::io::{self, Write};

use diffcoder_engine::infiller::{HoleFill, InfillStats};
use diffcoder_lsp::position::{PositionEncoding, offset_to_position};
use ropey::Rope;
use serde::Serialize;
use tower_lsp::gen_lsp_types::Position;

use super::source::Hole;

#[derive(Serialize)]
struct Report<'a> {
    holes: [HoleReport<'a>; 1],
    stats: StatsReport,
}

#[derive(Serialize)]
struct HoleReport<'a> {
    range: RangeReport,
    text: &'a str,
    confidence: f32,
}

/// Where the hole was in the file as it had been, lines and UTF-16 code units from 0.
#[derive(Serialize)]
struct RangeReport {
    start: Position,
    end: Position,
}

#[derive(Serialize)]
struct StatsReport {
    prompt_tokens: usize,
    cached_tokens: usize,
    forwards: usize,
    tokens: usize,
    tokens_per_forward: f64,
    wall_ms: f64,
}

/// Writes one line of JSON. `fill` carries the line ends of the file.
pub(crate) fn render(
    hole: &Hole<'_>,
    fill: &HoleFill,
    stats: &InfillStats,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = Rope::from_str(hole.source().text());
    let position = |offset| offset_to_position(&text, offset, PositionEncoding::Utf16);
    let span = hole.span();
    let range = RangeReport { start: position(span.start), end: position(span.end) };
    let report = Report {
        holes: [HoleReport { range, text: &fill.text, confidence: fill.confidence }],
        stats: StatsReport {
            prompt_tokens: stats.prompt_tokens,
            cached_tokens: stats.cached_tokens,
            forwards: stats.forwards,
            tokens: stats.tokens,
            tokens_per_forward: stats.tokens_per_forward(),
            wall_ms: stats.wall.as_secs_f64() * 1e3,
        },
    };
    serde_json::to_writer(&mut *out, &report)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use diffcoder_engine::infiller::Finish;

    use super::*;
    use crate::cli::source::Source;
    use crate::cli::test_support::{place, write_file};

    #[test]
    fn keys_and_units_are_as_promised() {
        let (_folder, path) = write_file("// 🙏\nlet 🙏x = 1;\n");
        let source = Source::read(&path).unwrap();
        let hole = source.hole(place("1:5-2:6")).unwrap();
        let fill =
            HoleFill { text: "a\n\"b\"".into(), confidence: 0.75, finish: Finish::EndOfText };
        let wall = Duration::from_micros(1500);
        let stats =
            InfillStats { prompt_tokens: 20, cached_tokens: 4, forwards: 4, tokens: 6, wall };
        let mut out = Vec::new();
        render(&hole, &fill, &stats, &mut out).unwrap();
        let expected = concat!(
            r#"{"holes":[{"range":{"start":{"line":0,"character":5},"end":{"line":1,"character":6}},"#,
            r#""text":"a\n\"b\"","confidence":0.75}],"stats":{"prompt_tokens":20,"cached_tokens":4,"#,
            r#""forwards":4,"tokens":6,"tokens_per_forward":1.5,"wall_ms":1.5}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
