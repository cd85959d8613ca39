//! `diffcoder-train eval`: what a model directory is worth.

mod bpb;
mod calibrate;
mod fill;
mod fill_likelihood;
mod humaneval;
mod infill;
mod multi_hole;
mod mutate;
mod nats;
pub mod sandbox;
mod sweep;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::builder::RangedU64ValueParser;
use diffcoder_engine::infiller::{DecodeOrder, Sampling, Unmasking};
use serde::Serialize;

use crate::data::corpus::read_split;
use crate::data::holes::HoleKind;
use crate::data::{Document, Language, Split};
use crate::output;
use fill::{Filler, Rule, Serving};
use humaneval::{Completer, Completions, Problems};
use infill::HoleSets;
use sandbox::{Limits, Sandbox};
use sweep::Point;

/// Seed of every choice of validation texts and holes: each model is measured on the same ones.
const CHOICE_SEED: u64 = 1;

/// Measure a model directory on held-out code.
#[derive(clap::Args, Debug)]
pub struct EvalArgs {
    /// Model directory, as `export` wrote it.
    #[arg(long)]
    model: Option<PathBuf>,
    /// What to measure.
    #[arg(long, value_enum)]
    suite: Suite,
    /// Corpus folder, as `data` wrote it (all but humaneval-infilling), or a .jsonl or .jsonl.gz file of the benchmark.
    #[arg(long)]
    data: Option<PathBuf>,
    /// How many documents of each language (bpb), holes of each kind (infill, fill-likelihood), groups (multi-hole) or problems, spread evenly (humaneval).
    #[arg(long, visible_alias = "limit", value_parser = at_least_one())]
    count: Option<usize>,
    /// Kinds of holes that infill measures; all by default.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KINDS")]
    holes: Vec<HoleKind>,
    /// Most tokens of a fill.
    #[arg(long, value_parser = at_least_one())]
    max_tokens: Option<usize>,
    /// Confidence at which a mask becomes a token; that of the engine by default.
    #[arg(long, conflicts_with = "steps", value_parser = probability)]
    threshold: Option<f64>,
    /// Which masks of a block become tokens first, surest-first or left-to-right; as the model is served by default.
    #[arg(long, conflicts_with = "sweep")]
    order: Option<DecodeOrder>,
    #[command(flatten)]
    serving: Serving,
    /// Denoising steps of a block instead of a threshold.
    #[arg(long, value_parser = at_least_one())]
    steps: Option<usize>,
    /// Measure infill or humaneval-infilling with one unmasking rule after another; needs --out.
    #[arg(long, conflicts_with_all = ["threshold", "steps", "calibrate"])]
    sweep: bool,
    /// Folder for the chart and the numbers of a sweep.
    #[arg(long, requires = "sweep")]
    out: Option<PathBuf>,
    /// Look for the confidence from which on fills of single-line holes are worth showing.
    #[arg(long, conflicts_with = "holes")]
    calibrate: bool,
    /// Run the completed programs of humaneval-infilling, in a sandbox.
    #[arg(long)]
    allow_exec: bool,
    /// File for the completions of humaneval-infilling, one JSON object a line with task_id, completion, result and passed.
    #[arg(long, value_name = "FILE", conflicts_with = "sweep")]
    samples: Option<PathBuf>,
    /// What completes the problems of humaneval-infilling.
    #[arg(long, value_enum, default_value = "model")]
    completions: Completions,
    /// The Python that runs the programs.
    #[arg(long, default_value = "python3")]
    python: String,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    /// Bits per byte of plain text.
    Bpb,
    /// Bits per byte of what stood in held-out single-line holes, behind the prompt as served; also of a model that only
    /// knows next tokens, whose exact matches are counted as well.
    FillLikelihood,
    /// Fills of held-out holes, through the engine as it serves.
    Infill,
    /// Fills of three held-out holes of a document together: jointly, in turn, and each by itself.
    MultiHole,
    /// pass@1 on a file of openai/human-eval-infilling.
    HumanevalInfilling,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// A number from 0 to 1.
fn probability(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("choose 0 to 1".to_owned()) }
}

/// Documents of each language that `bpb` scores by default.
const BPB_DOCUMENTS: usize = 60;
/// Holes of each kind that `infill` fills by default.
const INFILL_HOLES: usize = 1000;

/// Groups of holes that `multi-hole` fills by default.
const MULTI_HOLE_GROUPS: usize = 300;

/// Runs `diffcoder-train eval`.
pub fn run_eval(args: &EvalArgs) -> Result<()> {
    ensure!(
        !args.sweep || matches!(args.suite, Suite::Infill | Suite::HumanevalInfilling),
        "--sweep measures infill or humaneval-infilling"
    );
    ensure!(
        !args.calibrate || args.suite == Suite::Infill,
        "--calibrate looks at the holes of --suite infill"
    );
    ensure!(
        args.sweep == args.out.is_some(),
        "--sweep writes a chart and its numbers: name their folder with --out"
    );
    let fills = !matches!(args.suite, Suite::Bpb | Suite::FillLikelihood);
    let has_rule = args.threshold.is_some() || args.steps.is_some() || args.order.is_some();
    ensure!(
        fills || !(has_rule || args.max_tokens.is_some() || args.serving.decodes()),
        "this suite fills nothing: --threshold, --steps, --order, --max-tokens, --healing, --end-bias, --copy-draft and --speculate are for suites that do"
    );
    ensure!(
        args.samples.is_none() || args.suite == Suite::HumanevalInfilling,
        "--samples keeps the completions of humaneval-infilling: leave it away for other suites"
    );
    match args.suite {
        Suite::Bpb => {
            let count = args.count.unwrap_or(BPB_DOCUMENTS);
            let report = bpb::measure(args.model()?, &args.documents()?, count)?;
            args.print(&report, &report.table())
        }
        Suite::FillLikelihood => {
            let count = args.count.unwrap_or(INFILL_HOLES);
            let related = args.serving.related_tokens;
            let documents = args.documents()?;
            let report = fill_likelihood::measure(args.model()?, documents, count, related)?;
            args.print(&report, &report.table())
        }
        Suite::Infill => args.infill(),
        Suite::MultiHole => {
            let count = args.count.unwrap_or(MULTI_HOLE_GROUPS);
            let rule = args.rule();
            let model = args.model()?;
            let report = multi_hole::measure(
                (model, &|| Filler::open(model, rule, args.serving)),
                &args.documents()?,
                count,
                args.max_tokens,
            )?;
            args.print(&report, &report.table())
        }
        Suite::HumanevalInfilling => args.humaneval(),
    }
}

impl EvalArgs {
    fn model(&self) -> Result<&Path> {
        self.model.as_deref().context("no model to measure: name its directory with --model")
    }

    fn documents(&self) -> Result<Vec<Document>> {
        let folder = self.data.as_ref().context(
            "no held-out text: name the corpus folder that `diffcoder-train data` wrote with --data",
        )?;
        read_split(folder, Split::Validation)
    }

    fn rule(&self) -> Rule {
        let unmasking = match (self.threshold, self.steps) {
            (Some(threshold), _) => Unmasking::Threshold(threshold),
            (None, Some(steps_per_block)) => Unmasking::Static { steps_per_block },
            (None, None) => Sampling::default().unmasking,
        };
        Rule { unmasking, order: self.order, speculate: self.serving.speculate }
    }

    fn infill(&self) -> Result<()> {
        let kinds: &[HoleKind] = match &self.holes[..] {
            _ if self.calibrate => &[HoleKind::SingleLine],
            [] => &HoleKind::ALL,
            kinds => kinds,
        };
        let count = self.count.unwrap_or(INFILL_HOLES);
        let sets = HoleSets::choose(self.documents()?, kinds, count)?;
        if self.calibrate {
            let mut filler = Filler::open(self.model()?, self.rule(), self.serving)?;
            let report = calibrate::measure(&mut filler, &sets, self.max_tokens)?;
            return self.print(&report, &report.table());
        }
        let measure = |rule| {
            let mut filler = Filler::open(self.model()?, rule, self.serving)?;
            infill::measure(&mut filler, &sets, self.max_tokens)
        };
        let Some(out) = &self.out else {
            let report = measure(self.rule())?;
            return self.print(&report, &report.table());
        };
        let mut points = Vec::new();
        for rule in sweep::rules(self.serving.speculate) {
            for (kind, results) in measure(rule)?.results {
                if let Some(all) = results.get("all") {
                    let worth = (all.exact_match, Some(all.edit_similarity));
                    points.push(Point::new(kind.name(), rule, worth, all.cost));
                }
            }
        }
        self.finish_sweep(&sweep::Report::new("exact match", points), out)
    }

    fn humaneval(&self) -> Result<()> {
        ensure!(
            self.allow_exec,
            "humaneval-infilling runs generated programs: allow it with --allow-exec (they run in a sandbox)"
        );
        let file = self.data.as_ref().context(
            "no benchmark: name a file of openai/human-eval-infilling (HumanEval-SingleLineInfilling.jsonl.gz) with --data",
        )?;
        let problems = Problems::read(file, self.count)?;
        let helper = std::env::current_exe().context("cannot find this program's own file")?;
        let sandbox = Sandbox::open(&helper, &self.python, Limits::default())?;
        let measure = |rule| {
            let mut completer = match self.completions {
                Completions::Canonical | Completions::Mutated => None,
                Completions::Model => Some(Completer {
                    filler: Filler::open(self.model()?, rule, self.serving)?,
                    max_tokens: self.max_tokens,
                }),
            };
            humaneval::measure(&problems, self.completions, completer.as_mut(), &sandbox)
        };
        let Some(out) = &self.out else {
            let report = measure(self.rule())?;
            self.print(&report, &report.table())?;
            // After the numbers, which a file that cannot be written must not cost.
            return self.samples.as_deref().map_or(Ok(()), |file| report.write_samples(file));
        };
        ensure!(
            self.completions == Completions::Model,
            "--sweep varies how the model decodes: leave --completions away"
        );
        let mut points = Vec::new();
        for rule in sweep::rules(self.serving.speculate) {
            let report = measure(rule)?;
            points.push(Point::new(
                &report.file,
                rule,
                (report.pass_at_1, None),
                report.cost.unwrap_or_default(),
            ));
        }
        self.finish_sweep(&sweep::Report::new("pass@1", points), out)
    }

    fn finish_sweep(&self, report: &sweep::Report, out: &Path) -> Result<()> {
        report.write(out)?;
        self.print(report, &report.table())
    }

    fn print(&self, report: &impl Serialize, table: &str) -> Result<()> {
        if self.json { output::line(&serde_json::to_string(report)?) } else { output::write(table) }
    }
}

fn by_language(documents: &[Document]) -> Result<BTreeMap<Language, Vec<&Document>>> {
    let mut languages: BTreeMap<Language, Vec<&Document>> = BTreeMap::new();
    for document in documents {
        languages.entry(document.language).or_default().push(document);
    }
    languages
        .values()
        .next()
        .context("the validation split is empty: collect the corpus from more packages")?;
    Ok(languages)
}
