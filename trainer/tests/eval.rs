//! The `eval` command: own solutions pass, wrong ones do not, and the embedded model is measured in every suite.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const SAMPLE: &str = "trainer/tests/data/infilling.jsonl";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn eval(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_diffcoder-train"))
        .arg("eval")
        .args(arguments)
        .current_dir(repository())
        .output()
        .unwrap()
}

fn report(arguments: &[&str]) -> Value {
    let output = eval(&[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    let output = eval(arguments);
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

const HUMANEVAL: [&str; 4] = ["--suite", "humaneval-infilling", "--data", SAMPLE];
const MODEL: [&str; 2] = ["--model", "engine/models/default"];

/// A corpus folder with a validation split of our own source.
fn corpus(dir: &Path) -> String {
    std::fs::write(dir.join("manifest.json"), "{}").unwrap();
    let document = |path: &str, language: &str| {
        let text = std::fs::read_to_string(repository().join(path)).unwrap();
        json!({ "path": path, "package": path.split('/').next(), "language": language, "text": text })
            .to_string()
            + "\n"
    };
    let python = "def area(width, height):\n    if width < height:\n        return height\n    return width * height\n"
        .repeat(5);
    let lines = document("trainer/src/rng.rs", "rust")
        + &document("engine/src/cancel.rs", "rust")
        + &json!({ "path": "a/area.py", "package": "a", "language": "python", "text": python })
            .to_string();
    std::fs::write(dir.join("validation.jsonl"), lines).unwrap();
    dir.to_str().unwrap().to_owned()
}

#[cfg(target_os = "linux")]
#[test]
fn right_solutions_pass_and_wrong_ones_do_not() {
    let with = |completions| {
        report(&[&HUMANEVAL[..], &["--allow-exec", "--completions", completions]].concat())
    };
    let canonical = with("canonical");
    assert_eq!(canonical["pass_at_1"], 1.0, "{canonical}");
    assert_eq!((&canonical["problems"], &canonical["passed"]), (&json!(5), &json!(5)));
    assert_eq!(canonical["not_passed"], json!([]));
    assert!(
        canonical["sandbox"]["isolation"].is_string() && canonical["sandbox"]["python"].is_string()
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("samples/mutated.jsonl");
    let keep = ["--allow-exec", "--completions", "mutated", "--samples", file.to_str().unwrap()];
    let mutated = report(&[&HUMANEVAL[..], &keep].concat());
    let problems = std::fs::read_to_string(repository().join(SAMPLE)).unwrap();
    let samples = std::fs::read_to_string(file).unwrap();
    assert_eq!(samples.lines().count(), 5);
    for (sample, problem) in samples.lines().zip(problems.lines()) {
        let [sample, problem]: [Value; 2] =
            [sample, problem].map(|line| serde_json::from_str(line).unwrap());
        assert_eq!(sample["task_id"], problem["task_id"]);
        assert_ne!(sample["completion"], problem["canonical_solution"]);
        assert_eq!((&sample["passed"], &sample["result"]), (&json!(false), &json!("failed")));
    }
    assert_eq!(mutated["problems"], 5);
    assert_eq!(mutated["passed"], 0, "{mutated}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_model_is_measured_with_its_cost_beside_the_accuracy() {
    let report = report(
        &[&HUMANEVAL[..], &MODEL, &["--allow-exec", "--limit", "3", "--max-tokens", "24"]].concat(),
    );
    assert_eq!((&report["problems"], &report["problems_of_file"]), (&json!(3), &json!(5)));
    let endings = report["endings"].as_object().unwrap().values();
    assert_eq!(endings.map(|count| count.as_u64().unwrap()).sum::<u64>(), 3);
    let cost = &report["cost"];
    assert_eq!(cost["fills"], 3);
    let per_token = cost["forwards"].as_f64().unwrap() / cost["tokens"].as_f64().unwrap();
    assert_eq!(cost["forwards_per_token"].as_f64().unwrap(), per_token);
    assert!(cost["tokens_per_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn nothing_is_run_without_leave_and_refusals_name_the_mend() {
    let without_leave = refusal(&[&HUMANEVAL[..], &["--completions", "canonical"]].concat());
    assert!(without_leave.contains("--allow-exec"), "{without_leave}");
    assert_eq!(without_leave.trim().lines().count(), 1);
    for (arguments, mend) in [
        (&["--suite", "infill"][..], "--data"),
        (&["--suite", "humaneval-infilling", "--allow-exec"], "--data"),
        (&["--suite", "infill", "--sweep"], "--out"),
        (&["--suite", "bpb", "--sweep", "--out", "x"], "--sweep"),
        (&["--suite", "multi-hole", "--sweep", "--out", "x"], "--sweep"),
        (&["--suite", "bpb", "--calibrate"], "--suite infill"),
        (&["--suite", "bpb"], "--model"),
        (&["--suite", "bpb", "--copy-draft", "0.5"], "for suites that do"),
        (&["--suite", "bpb", "--order", "left-to-right"], "for suites that do"),
        (&["--suite", "infill", "--order", "random"], "known are surest-first and left-to-right"),
        (&["--suite", "infill", "--count", "0"], "'--count"),
        (&["--suite", "infill", "--samples", "x"], "of humaneval-infilling"),
        (&["--suite", "infill", "--end-bias=nan"], "finite"),
        (&["--suite", "infill", "--copy-draft", "3"], "0 to 1"),
    ] {
        let said = refusal(arguments);
        assert!(said.contains(mend), "{arguments:?}: {said}");
    }
}

#[test]
fn several_holes_are_filled_in_every_mode_that_the_model_has() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = corpus(dir.path());
    // The embedded weights, said to fill several holes of one prompt.
    let own = dir.path().join("model");
    std::fs::create_dir(&own).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for entry in std::fs::read_dir(root.join(MODEL[1])).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), own.join(entry.file_name())).unwrap();
    }
    let config = std::fs::read_to_string(own.join("config.json")).unwrap();
    let able = config.replace("\"infill\",", "\"infill\", \"multi-hole\",");
    assert_ne!(able, config);
    std::fs::write(own.join("config.json"), able).unwrap();
    let suite = ["--suite", "multi-hole", "--data", &corpus, "--count", "6", "--max-tokens", "16"];
    let of = |model: &str| report(&[&suite[..], &["--model", model]].concat());
    let all = of(own.to_str().unwrap());
    let groups = all["results"]["joint"]["groups"].as_u64().unwrap();
    assert!((1..=6).contains(&groups), "{all}");
    for mode in ["joint", "in turn", "independent"] {
        let tally = &all["results"][mode];
        assert_eq!(tally["holes"].as_u64(), Some(3 * groups), "{mode}");
        assert!((0.0..=1.0).contains(&tally["edit_similarity"].as_f64().unwrap()), "{mode}");
        assert_eq!(tally["cost"]["fills"].as_u64(), Some(groups), "{mode}");
    }
    // One joint prompt is read once, three prompts thrice.
    let forwards = |mode: &str| all["results"][mode]["cost"]["forwards"].as_u64().unwrap();
    assert!(forwards("in turn") > forwards("independent"), "{all}");
    assert!(all["note"].is_null() && all["results"]["joint"] != all["results"]["in turn"], "{all}");

    let embedded = of(MODEL[1]);
    assert!(embedded["results"]["joint"].is_null() && !embedded["note"].is_null(), "{embedded}");
    assert!(embedded["results"]["in turn"]["holes"].as_u64().is_some(), "{embedded}");
}

#[test]
fn held_out_holes_are_measured_by_kind_and_language() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = corpus(dir.path());
    let infill = [&["--suite", "infill", "--data", &corpus][..], &MODEL].concat();
    let all = report(&[&infill[..], &["--count", "6", "--max-tokens", "16"]].concat());
    for kind in ["single-line", "lines", "node"] {
        let tally = &all["results"][kind]["all"];
        let by_language = ["rust", "python"]
            .map(|language| all["results"][kind][language]["holes"].as_u64().unwrap());
        assert_eq!(tally["holes"].as_u64().unwrap(), by_language.iter().sum::<u64>(), "{all}");
        for share in ["exact_match", "edit_similarity", "right_length_share", "closed_share"] {
            assert!((0.0..=1.0).contains(&tally[share].as_f64().unwrap()), "{kind} {share}");
        }
        assert!(tally["edit_similarity"].as_f64() > tally["exact_match"].as_f64());
        assert!(tally["cost"]["forwards"].as_u64().unwrap() > 0);
    }
    let table = eval(&[&infill[..], &["--count", "2", "--holes", "node"]].concat());
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("node") && table.contains("forwards per token"), "{table}");
    assert!(!table.contains("single-line"), "{table}");
    let ordered = ["--count", "2", "--holes", "node", "--order", "left-to-right"];
    let ordered = report(&[&infill[..], &ordered].concat());
    assert_eq!(ordered["rule"], "left-to-right, threshold 0.95");

    let found = report(&[&infill[..], &["--count", "6", "--calibrate"]].concat());
    let points = found["points"].as_array().unwrap();
    assert_eq!(points.len(), 100);
    let coverage: Vec<f64> =
        points.iter().map(|point| point["coverage"].as_f64().unwrap()).collect();
    assert!(coverage.is_sorted_by(|a, b| a >= b), "{coverage:?}");
    assert!(coverage[0] > 0.0, "an untrained eye sees something at 0");

    let out = dir.path().join("sweep");
    let sweep = ["--count", "2", "--holes", "lines", "--max-tokens", "8", "--sweep", "--out"];
    let swept = report(&[&infill[..], &sweep, &[out.to_str().unwrap()]].concat());
    let written = std::fs::read_to_string(out.join("sweep.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), swept);
    let points = swept["points"].as_array().unwrap();
    let forwards = |rule: &str| {
        let point = points.iter().find(|point| point["rule"] == rule).unwrap();
        point["cost"]["tokens_per_forward"].as_f64().unwrap()
    };
    assert!(
        forwards("surest-first, 1 steps a block") > forwards("surest-first, 4 steps a block"),
        "{swept}"
    );
    assert!(std::fs::read_to_string(out.join("sweep.svg")).unwrap().contains("<circle"));
}
