//! Reads the texts of public evaluation sets: JSON lines, also gzipped, in the shapes that these sets have.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::Language;
use super::contamination::SetRecord;
use crate::atomic::sha256;

/// Where the hole of a SAFIM row stands.
const SAFIM_HOLE: &str = "{{completion}}";

/// Which rows of a set count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Those in a language that a corpus can hold.
    CorpusLanguages,
    /// All.
    EveryLanguage,
}

/// The texts of the rows of one set.
pub fn read(path: &Path, wanted: Rows) -> anyhow::Result<(SetRecord, Vec<String>)> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("cannot read the evaluation set {}", path.display()))?;
    let is_gzipped = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if is_gzipped {
        Box::new(flate2::read::MultiGzDecoder::new(bytes.as_slice()))
    } else {
        Box::new(bytes.as_slice())
    };
    let (mut rows, mut all) = (0, Vec::new());
    for (index, line) in BufReader::new(reader).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if line.trim().is_empty() {
            continue;
        }
        let texts = serde_json::from_str(&line)
            .map_err(anyhow::Error::from)
            .and_then(|row: Value| texts(&row, wanted))
            .with_context(|| format!("line {} of {}", index + 1, path.display()))?;
        rows += usize::from(!texts.is_empty());
        all.extend(texts);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((SetRecord { name, sha256: sha256(&bytes), rows }, all))
}

/// The whole program of a row, its hole filled, and its tests.
fn texts(row: &Value, wanted: Rows) -> anyhow::Result<Vec<String>> {
    let field = |name: &str| row.get(name).and_then(Value::as_str);
    if let Some(language) = field("lang") {
        let known = Language::ALL.iter().any(|known| known.name() == language);
        if !known && wanted == Rows::CorpusLanguages {
            return Ok(Vec::new());
        }
    }
    // SAFIM
    if let (Some(prompt), Some(truth)) = (field("eval_prompt"), field("ground_truth")) {
        return Ok(vec![prompt.replace(SAFIM_HOLE, truth)]);
    }
    // HumanEval, and HumanEval-Infilling with its suffix
    if let (Some(prompt), Some(solution)) = (field("prompt"), field("canonical_solution")) {
        let program = format!("{prompt}{solution}{}", field("suffix").unwrap_or_default());
        return Ok([Some(program), field("test").map(str::to_owned)]
            .into_iter()
            .flatten()
            .collect());
    }
    // CRUXEval
    if let Some(code) = field("code") {
        let assertion = match (field("input"), field("output")) {
            (Some(input), Some(output)) => Some(format!("assert f({input}) == {output}")),
            _ => None,
        };
        return Ok([Some(code.to_owned()), assertion].into_iter().flatten().collect());
    }
    bail!(
        "has none of the known shapes (prompt and canonical_solution; eval_prompt and ground_truth; code): \
         bring it into one of them"
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn holes_are_filled_and_tests_are_texts_of_their_own() {
        let read =
            |row: &str| texts(&serde_json::from_str(row).unwrap(), Rows::CorpusLanguages).unwrap();
        let infilling =
            r#"{"prompt":"a = ","canonical_solution":"1","suffix":"\nb = 2","test":"check(a)"}"#;
        assert_eq!(read(infilling), ["a = 1\nb = 2", "check(a)"]);
        assert_eq!(read(r#"{"prompt":"a = ","canonical_solution":"1"}"#), ["a = 1"]);
        let crux = r#"{"code":"def f(x): return x","input":"3","output":"3"}"#;
        assert_eq!(read(crux), ["def f(x): return x", "assert f(3) == 3"]);
        let safim = r#"{"lang":"python","prompt":"P","eval_prompt":"if {{completion}}:","ground_truth":"x > 1"}"#;
        assert_eq!(read(safim), ["if x > 1:"]);
        let java = safim.replace("python", "java");
        assert!(read(&java).is_empty());
        assert_eq!(
            texts(&serde_json::from_str(&java).unwrap(), Rows::EveryLanguage).unwrap().len(),
            1
        );
    }

    #[test]
    fn gzipped_sets_read_like_plain_ones_and_unknown_shapes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let plain = "{\"code\":\"a\"}\n{\"code\":\"b\"}\n";
        let (one, two) = (dir.path().join("set.jsonl"), dir.path().join("set.jsonl.gz"));
        std::fs::write(&one, plain).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(plain.as_bytes()).unwrap();
        std::fs::write(&two, encoder.finish().unwrap()).unwrap();
        let (record, texts) = read(&one, Rows::CorpusLanguages).unwrap();
        assert_eq!((record.rows, &texts), (2, &vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(read(&two, Rows::CorpusLanguages).unwrap().1, texts);
        std::fs::write(&one, "{\"question\":1}\n").unwrap();
        let error = format!("{:#}", read(&one, Rows::CorpusLanguages).unwrap_err());
        assert!(error.contains("line 1") && error.contains("known shapes"), "{error}");
    }
}
