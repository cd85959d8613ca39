//! The source file of a command: read strictly, cut at the hole, put together again around the fill.

use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use diffcoder_engine::infiller::{HoleFill, Segment};
use diffcoder_lsp::after_fill::{Fill, Language, finish_within};
use diffcoder_lsp::holes::without_kept;
use diffcoder_lsp::line_endings;
use diffcoder_lsp::position::line_col_to_offset;
use ropey::Rope;

use crate::args::LineColRange;

/// Largest file that is read. No hand-written source comes near it, and the model sees a small window only.
const MAX_BYTES: u64 = 16 << 20;

/// Windows editors put it in front of UTF-8; it is no part of the first line.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A source file in memory.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    contents: String,
    text_start: usize,
}

impl Source {
    /// Reads `path`, which must be a regular UTF-8 file of at most 16 MiB.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!(
                    "there is no file {name}: check the path, it is relative to the current folder"
                );
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        };
        if metadata.is_dir() {
            bail!("{name} is a directory: name a file in it");
        }
        if !metadata.is_file() {
            bail!("{name} is not a regular file: save its contents to one first");
        }
        if metadata.len() > MAX_BYTES {
            let mib = metadata.len().div_ceil(1 << 20);
            bail!(
                "{name} is too large ({mib} MiB, the limit is 16): copy the part around the hole to a file of its own"
            );
        }
        let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let contents = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            anyhow::anyhow!(
                "{name} is not UTF-8 at byte {offset}: convert it, such as with `iconv -t UTF-8`"
            )
        })?;
        let text_start =
            if contents.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Ok(Self { path: path.to_owned(), contents, text_start })
    }

    /// The path as the user wrote it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All of the file, a byte order mark included.
    pub(crate) fn contents(&self) -> &str {
        &self.contents
    }

    /// What an editor shows: the contents without a byte order mark.
    pub(crate) fn text(&self) -> &str {
        &self.contents[self.text_start..]
    }

    /// The holes at `places` without what is kept, an error where the file has no such place or two of them overlap.
    pub(crate) fn holes(
        &self,
        places: &[LineColRange],
        keep: &[LineColRange],
    ) -> anyhow::Result<Holes<'_>> {
        let rope = Rope::from_str(self.text());
        let name = self.path.display().to_string();
        let span = |place: &LineColRange| -> anyhow::Result<Range<usize>> {
            let start = line_col_to_offset(&rope, place.start, &name)?;
            Ok(start..line_col_to_offset(&rope, place.end, &name)?)
        };
        let mut spans = Vec::with_capacity(places.len());
        for place in places {
            spans.push((span(place)?, place));
        }
        spans.sort_by_key(|(span, _)| (span.start, span.end));
        for pair in spans.windows(2) {
            let [(before, _), (after, place)] = pair else { continue };
            anyhow::ensure!(
                before.end <= after.start && before.start < after.start,
                "the hole at {} overlaps another one: name disjoint places",
                place.start
            );
        }
        let spans: Vec<Range<usize>> = spans.into_iter().map(|(span, _)| span).collect();
        let kept = keep.iter().map(span).collect::<anyhow::Result<Vec<_>>>()?;
        let pieces = without_kept(&spans, &kept).map_err(|outside| {
            let at = keep[outside].start;
            anyhow::anyhow!("--keep at {at} lies outside the holes: keep text within one --range")
        })?;
        anyhow::ensure!(!pieces.is_empty(), "--keep leaves nothing to fill");
        Ok(Holes { source: self, spans: pieces.into_iter().map(|(span, _)| span).collect() })
    }
}

/// Holes in a source file, in reading order and apart.
#[derive(Debug)]
pub(crate) struct Holes<'a> {
    source: &'a Source,
    spans: Vec<Range<usize>>,
}

impl Holes<'_> {
    /// The file around it.
    pub(crate) fn source(&self) -> &Source {
        self.source
    }

    /// Their bytes in [`Source::text`].
    pub(crate) fn spans(&self) -> &[Range<usize>] {
        &self.spans
    }

    /// The file around the holes as the model sees it: all lines end with `\n`.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let text = self.source.text();
        let piece =
            |span: Range<usize>| -> Arc<str> { line_endings::normalise(&text[span]).into() };
        let mut segments = Vec::with_capacity(2 * self.spans.len() + 1);
        let mut from = 0;
        for span in &self.spans {
            segments.push(Segment::Text(piece(from..span.start)));
            segments.push(Segment::Hole { draft: piece(span.clone()) });
            from = span.end;
        }
        segments.push(Segment::Text(piece(from..text.len())));
        segments
    }

    /// Makes of `fills` what is to stand in the holes.
    pub(crate) fn finish(&self, fills: &mut [HoleFill]) {
        let given: Vec<Fill<'_>> = fills.iter().map(Fill::from).collect();
        let language = Language::of("", &self.source.path.to_string_lossy());
        let texts = finish_within(self.source.text(), &self.spans, &given, language);
        for (fill, text) in fills.iter_mut().zip(texts) {
            fill.text = text;
        }
    }

    /// The file's contents with `fills`, as they shall stand there, in place of the holes.
    pub(crate) fn filled<'f>(&self, fills: impl IntoIterator<Item = &'f str>) -> String {
        let text = self.source.text();
        let mut contents = self.source.contents[..self.source.text_start].to_owned();
        let mut from = 0;
        for (span, fill) in self.spans.iter().zip(fills) {
            contents.push_str(&text[from..span.start]);
            contents.push_str(fill);
            from = span.end;
        }
        contents.push_str(&text[from..]);
        contents
    }
}

#[cfg(test)]
mod tests {
    use diffcoder_engine::infiller::Finish;

    use super::*;
    use crate::cli::test_support::{place, write_file};

    fn text(text: &str) -> Segment {
        Segment::Text(text.into())
    }

    #[test]
    fn the_file_is_cut_at_the_hole() {
        let (_folder, path) = write_file("日本 = ☃☃\nend\n");
        let source = Source::read(&path).unwrap();
        let holes = source.holes(&[place("1:6-1:7")], &[]).unwrap();
        let draft = "☃".into();
        assert_eq!(holes.segments(), [text("日本 = "), Segment::Hole { draft }, text("☃\nend\n")]);
        assert_eq!(holes.filled(["x"]), "日本 = x☃\nend\n");
    }

    #[test]
    fn crlf_files_stay_crlf_and_the_model_does_not_see_it() {
        let (_folder, path) = write_file("a\r\n\r\nb\r\n");
        let source = Source::read(&path).unwrap();
        let holes = source.holes(&[place("2:1-2:1")], &[]).unwrap();
        let draft = "".into();
        assert_eq!(holes.segments(), [text("a\n"), Segment::Hole { draft }, text("\nb\n")]);
        let mut fills = [HoleFill {
            text: "x\ny".into(),
            confidence: 1.0,
            finish: Finish::EndOfText,
            first_line: None,
        }];
        holes.finish(&mut fills);
        assert_eq!(holes.filled([fills[0].text.as_str()]), "a\r\nx\r\ny\r\nb\r\n");
    }

    #[test]
    fn an_empty_file_has_one_place() {
        let (_folder, path) = write_file("");
        let source = Source::read(&path).unwrap();
        assert_eq!(source.holes(&[place("1:1-1:1")], &[]).unwrap().filled(["x\n"]), "x\n");
    }

    #[test]
    fn a_byte_order_mark_is_kept_and_not_counted() {
        let (_folder, path) = write_file("\u{feff}ab");
        let source = Source::read(&path).unwrap();
        let holes = source.holes(&[place("1:1-1:2")], &[]).unwrap();
        assert_eq!(holes.segments()[1], Segment::Hole { draft: "a".into() });
        assert_eq!(holes.filled(["x"]), "\u{feff}xb");
    }

    #[test]
    fn bad_files_are_named_with_the_mend() {
        let (folder, path) = write_file("fine");
        let message = |path: &Path| Source::read(path).unwrap_err().to_string();
        let missing = folder.path().join("gone.rs");
        assert!(
            message(&missing).contains("there is no file") && message(&missing).contains("gone.rs")
        );
        assert!(message(folder.path()).ends_with("is a directory: name a file in it"));
        fs::write(&path, b"caf\xe9").unwrap();
        assert!(message(&path).contains("is not UTF-8 at byte 3"), "{}", message(&path));
        fs::File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(
            message(&path).contains("too large (17 MiB, the limit is 16)"),
            "{}",
            message(&path)
        );
    }

    #[test]
    fn places_past_the_end_are_refused() {
        let (_folder, path) = write_file("one\ntwo\n");
        let source = Source::read(&path).unwrap();
        for (at, expected) in
            [("9:1-9:1", "line 9 is past the end"), ("1:2-1:5", "column 5 is past the end")]
        {
            let message = source.holes(&[place(at)], &[]).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("source.rs"), "{message}");
        }
    }

    #[test]
    fn several_holes_are_sorted_and_must_be_apart() {
        let (_folder, path) = write_file("a = ;\nb = 1;\n");
        let source = Source::read(&path).unwrap();
        let holes = source.holes(&[place("2:5-2:6"), place("1:5-1:5")], &[]).unwrap();
        assert_eq!(holes.spans(), [4..4, 10..11]);
        assert_eq!(holes.filled(["x", "yy"]), "a = x;\nb = yy;\n");
        for places in [["1:1-1:3", "1:2-1:4"], ["1:5-1:5", "1:5-1:5"]] {
            let message = source.holes(&places.map(place), &[]).unwrap_err().to_string();
            assert!(message.contains("overlaps another one"), "{message}");
        }
    }

    #[test]
    fn kept_text_cuts_a_hole_in_two() {
        let (_folder, path) = write_file("let x = a + b;\n");
        let source = Source::read(&path).unwrap();
        let holes = source.holes(&[place("1:9-1:14")], &[place("1:10-1:13")]).unwrap();
        assert_eq!(holes.filled(["1", "2"]), "let x = 1 + 2;\n");
        let error =
            |keep| source.holes(&[place("1:9-1:14")], &[place(keep)]).unwrap_err().to_string();
        assert!(error("1:8-1:10").contains("--keep at 1:8 lies outside the holes"));
        assert!(error("1:9-1:14").contains("nothing to fill"));
    }
}
