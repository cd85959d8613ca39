//! The result as JSON for scripts; its keys and units are a contract.

use std::io::{self, Write};
use std::ops::Range;

use diffcoder_engine::infiller::{HoleFill, Infill};
use diffcoder_lsp::position::{PositionEncoding, offset_to_position};
use ropey::Rope;
use serde::Serialize;
use tower_lsp::gen_lsp_types::Position;

use super::source::Holes;

#[derive(Serialize)]
struct Report {
    holes: Vec<HoleReport>,
    /// Only where some were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    alternatives: Option<Vec<Vec<HoleReport>>>,
    stats: StatsReport,
}

#[derive(Serialize)]
struct HoleReport {
    range: RangeReport,
    text: String,
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

/// Writes one line of JSON. The fills carry the line ends of the file. Where more than one result was
/// `wanted`, the others have a key of their own.
pub(crate) fn render(
    holes: &Holes<'_>,
    infill: &Infill,
    wanted: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = Rope::from_str(holes.source().text());
    let position = |offset| offset_to_position(&text, offset, PositionEncoding::Utf16);
    let fills = |fills: &'_ [HoleFill]| {
        let report = |(span, fill): (&Range<usize>, _)| {
            let fill: &HoleFill = fill;
            let range = RangeReport { start: position(span.start), end: position(span.end) };
            HoleReport { range, text: fill.text.clone(), confidence: fill.confidence }
        };
        holes.spans().iter().zip(fills).map(report).collect::<Vec<_>>()
    };
    let stats = &infill.stats;
    let report = Report {
        holes: fills(&infill.holes),
        alternatives: (wanted > 1)
            .then(|| infill.alternatives.iter().map(|others| fills(others)).collect()),
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
    use crate::cli::test_support::{place, stats, write_file};

    #[test]
    fn keys_and_units_are_as_promised() {
        let (_folder, path) = write_file("// 🙏\nlet 🙏x = 1;\n");
        let source = Source::read(&path).unwrap();
        let holes = source.holes(&[place("1:5-2:6")], &[]).unwrap();
        let fill = HoleFill {
            text: "a\n\"b\"".into(),
            confidence: 0.75,
            finish: Finish::EndOfText,
            first_line: None,
        };
        let wall = Duration::from_micros(1500);
        let stats = stats(wall);
        let alternatives = vec![vec![HoleFill { text: "c".into(), ..fill.clone() }]];
        let infill = Infill { holes: vec![fill], alternatives, stats };
        let mut out = Vec::new();
        render(&holes, &infill, 1, &mut out).unwrap();
        let expected = concat!(
            r#"{"holes":[{"range":{"start":{"line":0,"character":5},"end":{"line":1,"character":6}},"#,
            r#""text":"a\n\"b\"","confidence":0.75}],"stats":{"prompt_tokens":20,"cached_tokens":4,"#,
            r#""forwards":4,"tokens":6,"tokens_per_forward":1.5,"wall_ms":1.5}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        render(&holes, &infill, 2, &mut out).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["alternatives"][0][0]["text"], "c");
        assert_eq!(value["alternatives"][0][0]["range"], value["holes"][0]["range"]);
    }
}
