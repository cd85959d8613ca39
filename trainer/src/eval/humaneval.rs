//! HumanEval-Infilling (openai/human-eval-infilling): holes in functions, judged by running the functions' tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::fill::{Cost, Filler};
use super::mutate::mutate;
use super::sandbox::{Ending, Isolation, Sandbox, SandboxReport};
use crate::atomic::write_file;
use crate::progress::counter;

/// Programs that run at once.
const SANDBOXES: usize = 2;
/// Most tokens of a fill by default.
const MAX_TOKENS: usize = 128;

/// One line of a benchmark file.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Problem {
    task_id: String,
    /// Text left of the hole.
    prompt: String,
    /// Text right of it.
    suffix: String,
    /// What stood in it.
    canonical_solution: String,
    /// Defines `check(candidate)`.
    test: String,
    /// Name of the candidate.
    entry_point: String,
}

impl Problem {
    /// The program of the reference harness.
    fn program(&self, completion: &str) -> String {
        let Self { prompt, suffix, test, entry_point, .. } = self;
        format!("{prompt}{completion}{suffix}\n{test}\ncheck({entry_point})")
    }
}

/// Problems of a benchmark file.
pub(super) struct Problems {
    /// Name of the file.
    file: String,
    /// Problems of the file.
    of: usize,
    /// Whether whole lines are missing, as in the single-line and multi-line files: every hole begins with a line.
    lacks_lines: bool,
    chosen: Vec<Problem>,
}

impl Problems {
    /// Reads a `.jsonl` or `.jsonl.gz` file; at most `limit` problems are taken, evenly spread over the file.
    pub(super) fn read(path: &Path, limit: Option<usize>) -> Result<Self> {
        let cannot = || format!("cannot read the benchmark file {}", path.display());
        let mut bytes = std::fs::read(path).with_context(cannot)?;
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(&bytes[..])
                .read_to_end(&mut plain)
                .with_context(cannot)?;
            bytes = plain;
        }
        let text = String::from_utf8(bytes).with_context(cannot)?;
        let parse = |(index, line): (usize, &str)| {
            serde_json::from_str::<Problem>(line).with_context(|| {
                format!(
                    "line {} of {} is no problem of HumanEval-Infilling: name one of its .jsonl or .jsonl.gz files",
                    index + 1,
                    path.display()
                )
            })
        };
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let all: Vec<Problem> = lines.map(parse).collect::<Result<_>>()?;
        ensure!(!all.is_empty(), "{} is empty", path.display());
        let of = all.len();
        let count = limit.unwrap_or(of).min(of);
        ensure!(count > 0, "--count is 0: ask for at least one problem");
        let chosen = (0..count).map(|index| all[index * of / count].clone()).collect();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lacks_lines = all.iter().all(|problem| problem.prompt.ends_with('\n'));
        Ok(Self { file, of, lacks_lines, chosen })
    }

    /// What stands between a fill and the suffix, and is no part of either. A missing line includes its end, which no
    /// layout asks the model for: the hole is the line up to there.
    fn line_end(&self) -> &'static str {
        if self.lacks_lines { "\n" } else { "" }
    }
}

/// Where completions come from.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Completions {
    /// The model.
    Model,
    /// The benchmark's own solutions: all of them pass, or the sandbox is at fault.
    Canonical,
    /// Its solutions with a mistake in each: fewer pass, or the tests are not run.
    Mutated,
}

/// How the model completes.
pub(super) struct Completer {
    /// Its engine.
    pub filler: Filler,
    /// Most tokens of a fill.
    pub max_tokens: Option<usize>,
}

/// A completion and how its program ended, with the keys of the reference harness's results.
#[derive(Debug, Serialize)]
pub(super) struct Judged {
    task_id: String,
    completion: String,
    result: Ending,
    passed: bool,
}

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    suite: &'static str,
    /// The benchmark file.
    pub file: String,
    completions: Completions,
    /// The unmasking rule; none where no model completes.
    rule: Option<String>,
    /// Problems that were run.
    pub problems: usize,
    /// Problems of the file. The chosen ones are those at `i * problems_of_file / problems`, rounded down.
    problems_of_file: usize,
    /// Solutions without a place for a mistake; they were not run.
    left_out: usize,
    /// Programs that passed.
    pub passed: usize,
    /// Share of the problems whose only completion passes.
    pub pass_at_1: f64,
    /// Completions that are the missing text, to the byte.
    exact: usize,
    /// How the programs ended.
    endings: BTreeMap<Ending, usize>,
    /// Tasks that did not pass; of the canonical solutions alone.
    not_passed: Vec<String>,
    /// What the model's completions cost.
    pub cost: Option<Cost>,
    sandbox: SandboxReport,
    /// Every completion that was run, in the order of the problems.
    #[serde(skip)]
    pub samples: Vec<Judged>,
}

/// Completes every problem and runs the programs.
pub(super) fn measure(
    problems: &Problems,
    completions: Completions,
    mut completer: Option<&mut Completer>,
    sandbox: &Sandbox,
) -> Result<Report> {
    let rule = completer.as_ref().map(|completer| completer.filler.rule());
    let (mut left_out, mut exact, mut cost) = (0, 0, Cost::default());
    let chosen = &problems.chosen;
    let mut completed = Vec::with_capacity(chosen.len());
    let complete = |problem: &Problem| -> Result<Option<String>> {
        let completion = match (completions, &mut completer) {
            (Completions::Canonical, _) => Some(problem.canonical_solution.clone()),
            (Completions::Mutated, _) => mutate(&problem.canonical_solution),
            (Completions::Model, None) => bail!("no model completes the problems"),
            (Completions::Model, Some(it)) => {
                let max_tokens = it.max_tokens.unwrap_or(MAX_TOKENS);
                let line_end = problems.line_end();
                let right = format!("{line_end}{}", problem.suffix);
                let filled = it.filler.fill((&problem.prompt, &right), Vec::new(), max_tokens)?;
                cost.add(&filled.stats);
                Some(filled.text + line_end)
            }
        };
        left_out += usize::from(completion.is_none());
        exact += usize::from(completion.as_ref() == Some(&problem.canonical_solution));
        let program = completion.as_ref().map(|completion| problem.program(completion));
        completed.push(completion);
        Ok(program)
    };
    let endings = judge(sandbox, chosen, complete)?;
    let passed = endings.iter().filter(|(_, ending)| *ending == Ending::Passed).count();
    let mut by_ending = BTreeMap::new();
    for (_, ending) in &endings {
        *by_ending.entry(*ending).or_default() += 1;
    }
    let not_passed = endings
        .iter()
        .filter(|(_, ending)| completions == Completions::Canonical && *ending != Ending::Passed)
        .map(|(index, _)| chosen[*index].task_id.clone())
        .collect();
    let judged = |&(index, result): &(usize, Ending)| {
        let task_id = chosen[index].task_id.clone();
        let completion = completed[index].clone()?;
        Some(Judged { task_id, completion, result, passed: result == Ending::Passed })
    };
    let samples = endings.iter().filter_map(judged).collect();
    Ok(Report {
        suite: "humaneval-infilling",
        file: problems.file.clone(),
        completions,
        rule,
        problems: endings.len(),
        problems_of_file: problems.of,
        left_out,
        passed,
        pass_at_1: passed as f64 / endings.len().max(1) as f64,
        exact,
        endings: by_ending,
        not_passed,
        cost: (completions == Completions::Model).then_some(cost),
        sandbox: sandbox.report(),
        samples,
    })
}

/// Runs the programs of `problems` while the next ones are made; returns how each ended, in order.
fn judge(
    sandbox: &Sandbox,
    problems: &[Problem],
    mut program_of: impl FnMut(&Problem) -> Result<Option<String>>,
) -> Result<Vec<(usize, Ending)>> {
    let bar = counter(problems.len(), "running")?;
    let stop = AtomicBool::new(false);
    let (sender, receiver) = sync_channel::<(usize, String)>(SANDBOXES);
    let receiver = Mutex::new(receiver);
    let work = || -> Result<Vec<(usize, Ending)>> {
        let mut ended = Vec::new();
        while let Some((index, program)) = next(&receiver) {
            // After a failure elsewhere, what was sent is only taken away.
            if stop.load(Ordering::Relaxed) {
                continue;
            }
            match sandbox.run(&program) {
                Ok(verdict) => ended.push((index, verdict.ending)),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    while next(&receiver).is_some() {}
                    return Err(error);
                }
            }
            bar.inc(1);
        }
        Ok(ended)
    };
    let mut ended = std::thread::scope(|scope| -> Result<Vec<(usize, Ending)>> {
        let workers: Vec<_> = (0..SANDBOXES).map(|_| scope.spawn(work)).collect();
        let made = problems.iter().enumerate().try_for_each(|(index, problem)| {
            match program_of(problem)? {
                // The workers' error says why they stopped.
                _ if stop.load(Ordering::Relaxed) => (),
                Some(program) => sender.send((index, program))?,
                None => bar.inc(1),
            }
            Ok(())
        });
        drop(sender);
        let mut all = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(ended) => all.extend(ended?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        made.map(|()| all)
    })?;
    bar.finish_and_clear();
    ended.sort_unstable();
    Ok(ended)
}

fn next(receiver: &Mutex<Receiver<(usize, String)>>) -> Option<(usize, String)> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl Report {
    /// Writes the completions as lines of JSON.
    pub(super) fn write_samples(&self, file: &Path) -> Result<()> {
        let mut text = Vec::new();
        for sample in &self.samples {
            serde_json::to_writer(&mut text, sample)?;
            text.push(b'\n');
        }
        write_file(file, &text)
    }

    pub(super) fn table(&self) -> String {
        let mut text =
            format!("{}: {} of {} problems\n", self.file, self.problems, self.problems_of_file);
        let completions = match (&self.completions, &self.rule) {
            (Completions::Model, Some(rule)) => format!("the model ({rule})"),
            (Completions::Model, None) => "the model".into(),
            (Completions::Canonical, _) => "the benchmark's own solutions".into(),
            (Completions::Mutated, _) => "its solutions with a mistake in each".into(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "completions: {completions}");
        if self.left_out > 0 {
            let _ = writeln!(text, "{} left out: no place for a mistake", self.left_out);
        }
        let _ = writeln!(
            text,
            "pass@1 {:.2} %  ({} passed; {} exact)",
            100.0 * self.pass_at_1,
            self.passed,
            self.exact
        );
        for (ending, count) in &self.endings {
            let _ = writeln!(text, "  {count:>5} {}", ending.words());
        }
        for task in &self.not_passed {
            let _ = writeln!(text, "did not pass: {task}");
        }
        if let Some(cost) = &self.cost {
            let _ = writeln!(text, "{}", cost.words());
        }
        let _ = match (self.sandbox.isolation, &self.sandbox.reason) {
            (Isolation::Namespaces, _) => writeln!(
                text,
                "sandbox: own processes, no network, read-only root; Python {}",
                self.sandbox.python
            ),
            (Isolation::Limits, reason) => writeln!(
                text,
                "sandbox: LIMITS ONLY, network and files were not closed off ({}); Python {}",
                reason.as_deref().unwrap_or("no namespaces"),
                self.sandbox.python
            ),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn line(index: usize) -> String {
        format!(
            r#"{{"task_id":"t/{index}","prompt":"def f(x):\n","suffix":"    return y\n","canonical_solution":"    y = x\n","test":"def check(f):\n    assert f(1) == 1\n","entry_point":"f","more":1}}"#
        )
    }

    #[test]
    fn plain_and_compressed_files_are_read_and_thinned_evenly() {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..10).map(|index| line(index) + "\n").collect();
        let (plain, zipped) = (dir.path().join("a.jsonl"), dir.path().join("a.jsonl.gz"));
        std::fs::write(&plain, &text).unwrap();
        let file = std::fs::File::create(&zipped).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        for path in [plain, zipped] {
            let problems = Problems::read(&path, Some(4)).unwrap();
            let ids: Vec<&str> = problems.chosen.iter().map(|it| it.task_id.as_str()).collect();
            assert_eq!(ids, ["t/0", "t/2", "t/5", "t/7"]);
            assert_eq!(problems.of, 10);
            assert_eq!(Problems::read(&path, Some(99)).unwrap().chosen.len(), 10);
        }
    }

    #[test]
    fn the_line_end_of_missing_lines_is_no_part_of_the_hole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, line(0)).unwrap();
        assert_eq!(Problems::read(&path, None).unwrap().line_end(), "\n");
        let within_a_line = line(1).replace(r"def f(x):\n", "def f(");
        std::fs::write(&path, line(0) + "\n" + &within_a_line).unwrap();
        assert_eq!(Problems::read(&path, None).unwrap().line_end(), "");
    }

    #[test]
    fn a_program_is_that_of_the_reference_harness() {
        let problem: Problem = serde_json::from_str(&line(0)).unwrap();
        assert_eq!(
            problem.program("    y = 2\n"),
            "def f(x):\n    y = 2\n    return y\n\ndef check(f):\n    assert f(1) == 1\n\ncheck(f)"
        );
    }

    #[test]
    fn another_file_is_refused_by_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, line(0) + "\n{\"text\":\"\"}\n").unwrap();
        let error = Problems::read(&path, None).err().unwrap();
        assert!(error.to_string().contains("line 2"), "{error}");
        std::fs::write(&path, "").unwrap();
        assert!(Problems::read(&path, None).err().unwrap().to_string().contains("empty"));
    }
}
