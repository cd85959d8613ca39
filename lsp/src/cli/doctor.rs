//! `doctor`: looks at everything that suggestions need, says what is wrong and how to mend it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::device::HAS_CUDA;
use diffcoder_engine::engine::Engine;
use diffcoder_engine::infiller::{InfillLimits, InfillRequest, Infiller, Segment};
use diffcoder_engine::kernels::matmul::bf16_available;
use diffcoder_engine::model::config::Family;
use diffcoder_lsp::config::{Config, Settings};
use diffcoder_lsp::stats;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{model, one_sentence};
use crate::args::DoctorArgs;

/// Above it a suggestion comes later than people wait for one.
const SLOW_MS: u128 = 2000;
/// Tokens of the timed infill.
const TIMED_TOKENS: usize = 16;
/// Larger weight files are not hashed: reading them takes longer than the answer is worth.
const MOST_HASHED_BYTES: u64 = 1 << 30;

/// What was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Verdict {
    Good,
    /// Works, but not well.
    Warning,
    /// Does not work.
    Problem,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Good, found: found.into(), mend: None }
    }

    fn bad(name: &'static str, verdict: Verdict, found: impl Into<String>, mend: &str) -> Self {
        Self { name, verdict, found: found.into(), mend: Some(mend.to_owned()) }
    }
}

/// Runs every check; the exit code says whether something does not work.
pub(crate) fn run(args: &DoctorArgs, config: &mut Config) -> anyhow::Result<ExitCode> {
    let checks = checks(config);
    let is_well = checks.iter().all(|check| check.verdict != Verdict::Problem);
    let mut out = anstream::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::json!({ "ok": is_well, "checks": checks }))?;
    } else {
        for Check { name, verdict, found, mend } in &checks {
            let mark = match verdict {
                Verdict::Good => "ok     ",
                Verdict::Warning => "warning",
                Verdict::Problem => "PROBLEM",
            };
            writeln!(out, "{mark}  {name}: {found}")?;
            if let Some(mend) = mend {
                writeln!(out, "         mend: {mend}")?;
            }
        }
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn checks(config: &mut Config) -> Vec<Check> {
    let settings = config.settings("", "");
    let mut checks = vec![binary()];
    checks.extend(settings_checks(config));
    checks.extend([cpu(), log(&settings), state(&settings)]);
    match model::load_engine(settings.model_dir()) {
        Err(error) => checks.push(Check::bad(
            "model",
            Verdict::Problem,
            one_sentence(&error),
            "name a directory with config.json, tokenizer.json and weights, or take server.model out for the embedded model",
        )),
        Ok(mut engine) => {
            checks.push(of_model(&engine, settings.model_dir()));
            checks.push(memory(&engine));
            checks.push(timed(&mut engine));
        }
    }
    // Last: what any of these opened is seen.
    checks.push(sockets());
    checks
}

/// The server talks over its standard input and output, and nothing else.
fn sockets() -> Check {
    const FOUND: &str = "none open: the server talks over stdin and stdout alone";
    let Ok(files) = fs::read_dir("/proc/self/fd") else {
        return Check::good("sockets", "not counted on this system; the server opens none");
    };
    let is_socket = |file: &fs::DirEntry| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        let is_standard =
            file.file_name().to_str().is_some_and(|name| matches!(name, "0" | "1" | "2"));
        // Those of whoever started this program are its own business.
        !is_standard && target.to_string_lossy().starts_with("socket:")
    };
    match files.filter_map(Result::ok).filter(is_socket).count() {
        0 => Check::good("sockets", FOUND),
        open => Check::bad(
            "sockets",
            Verdict::Warning,
            format!("{open} open, although the server needs none"),
            "see who hands them down: start diffcoder-lsp from a plain shell; if they stay, report it",
        ),
    }
}

fn binary() -> Check {
    let version = env!("CARGO_PKG_VERSION");
    let path = match std::env::current_exe() {
        Ok(path) => path,
        Err(error) => {
            return Check::good("binary", format!("version {version}, path unknown: {error}"));
        }
    };
    let found = format!("{} version {version}", path.display());
    let name = path.file_name().unwrap_or_default();
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let first =
        std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|file| file.is_file());
    match first {
        Some(first) if first.canonicalize().ok() != path.canonicalize().ok() => Check::bad(
            "binary",
            Verdict::Warning,
            format!("{found}, but PATH finds {} first", first.display()),
            "editors start the one in PATH unless told otherwise: take the older one away",
        ),
        Some(_) => Check::good("binary", found),
        None => Check::bad(
            "binary",
            Verdict::Warning,
            format!("{found}, which is not in PATH"),
            "add its folder to PATH, or name the file in the editor's settings",
        ),
    }
}

fn settings_checks(config: &mut Config) -> Vec<Check> {
    let path = config.machine().path().map(Path::to_owned);
    let found = match &path {
        Some(path) if path.exists() => format!("{}", path.display()),
        Some(path) => format!("no {}, so defaults and the environment hold", path.display()),
        None => "no home directory, so defaults and the environment hold".to_owned(),
    };
    let mut checks = vec![Check::good("settings", found)];
    // Each of them says what is expected; the rest of the settings hold.
    checks.extend(config.take_problems().into_iter().map(|problem| Check {
        name: "settings",
        verdict: Verdict::Problem,
        found: problem.message,
        mend: Some("correct or remove it; docs/configuration.md lists all settings".to_owned()),
    }));
    checks
}

fn cpu() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    #[cfg(target_arch = "x86_64")]
    let features: Vec<_> = [
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ("FMA", std::arch::is_x86_feature_detected!("fma")),
        ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
        ("bf16 matrix units", bf16_available()),
    ]
    .into_iter()
    .filter_map(|(name, is_there)| is_there.then_some(name))
    .collect();
    #[cfg(not(target_arch = "x86_64"))]
    let features: Vec<_> = bf16_available().then_some("bf16 matrix units").into_iter().collect();
    let cuda = if HAS_CUDA { "; this build knows CUDA, but serves on the CPU" } else { "" };
    let known = if features.is_empty() { "plain code".to_owned() } else { features.join(", ") };
    let found = format!("CPU, {cores} cores, {known}{cuda}");
    if cfg!(target_arch = "x86_64") && !features.contains(&"AVX2") {
        let mend = "without AVX2 every suggestion is several times slower: use a newer CPU";
        return Check::bad("device", Verdict::Warning, found, mend);
    }
    Check::good("device", found)
}

fn log(settings: &Settings) -> Check {
    let Some(file) = settings.log_file() else { return Check::good("log", "to stderr") };
    let folder = file.parent().unwrap_or(Path::new("."));
    match writable(folder) {
        Ok(()) => Check::good("log", format!("in {}", folder.display())),
        Err(error) => Check::bad(
            "log",
            Verdict::Problem,
            format!("{} cannot be written: {error}", folder.display()),
            "name another file in server.logFile, or take it out for a log to stderr",
        ),
    }
}

fn state(settings: &Settings) -> Check {
    if !settings.server.stats {
        return Check::good("stats", "off");
    }
    let Some(file) = stats::file() else {
        return Check::bad("stats", Verdict::Warning, "no home directory", "set XDG_STATE_HOME");
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    match writable(folder).and_then(|()| stats::read(&file)) {
        Ok(_) => Check::good("stats", format!("{}", file.display())),
        Err(error) => Check::bad(
            "stats",
            Verdict::Warning,
            format!("{}: {error}", file.display()),
            "delete the file, or make its folder writable; nothing else depends on it",
        ),
    }
}

fn writable(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    tempfile::tempfile_in(folder).map(drop)
}

fn of_model(engine: &Engine, dir: Option<&Path>) -> Check {
    let config = engine.model().config();
    let family = match &config.family {
        Family::StableDiffCoder => "Stable-DiffCoder, capabilities infill".to_owned(),
        Family::Diffcoder(keys) => format!(
            "blocks of {}, {} tokens of context, capabilities {}",
            keys.block_length,
            keys.context_tokens,
            keys.capabilities.join(", ")
        ),
        Family::Transformer => "a transformer".to_owned(),
    };
    let files = dir.map_or_else(String::new, |dir| format!("; {}", weight_files(dir)));
    let (layers, width) = (config.n_layers, config.hidden_size);
    Check::good(
        "model",
        format!("{}, {layers} layers of {width}, {family}{files}", engine.model_name()),
    )
}

/// Names, sizes and hashes of the weights, to hold against what was published.
fn weight_files(dir: &Path) -> String {
    let mut files: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "gguf" || extension == "safetensors")
        })
        .collect();
    files.sort();
    let describe = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::metadata(path).map_or(0, |data| data.len());
        let hash = match fs::File::open(path) {
            Ok(mut file) if bytes <= MOST_HASHED_BYTES => {
                let mut hasher = Sha256::new();
                std::io::copy(&mut file, &mut hasher)
                    .ok()
                    .map(|_| format!("{:x}", hasher.finalize()))
            }
            _ => None,
        };
        let hash = hash.map_or_else(|| "not hashed".to_owned(), |hash| format!("sha256 {hash}"));
        format!("{name}, {:.1} MB, {hash}", bytes as f64 / 1e6)
    };
    files.iter().map(describe).collect::<Vec<_>>().join("; ")
}

fn memory(engine: &Engine) -> Check {
    let needed = engine.resources().memory_bytes as u64;
    let needed_mb = needed as f64 / 1e6;
    match available_memory() {
        None => Check::good("memory", format!("the model takes {needed_mb:.0} MB")),
        Some(available) => {
            let found = format!(
                "the model takes {needed_mb:.0} MB, {:.0} MB are left beside it",
                available as f64 / 1e6
            );
            // The cache of prefixes may grow to a quarter of a gigabyte.
            if available < 512 << 20 {
                let mend = "close other programs, or name a smaller model in server.model";
                return Check::bad("memory", Verdict::Warning, found, mend);
            }
            Check::good("memory", found)
        }
    }
}

/// What Linux says; other systems do not say it in a file.
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

fn timed(engine: &mut Engine) -> Check {
    let before = "def total(values):\n    result = 0\n    for value in values:\n        ";
    let segments = vec![
        Segment::Text(before.into()),
        Segment::Hole { draft: "".into() },
        Segment::Text("\n    return result\n".into()),
    ];
    let limits = InfillLimits { max_tokens: TIMED_TOKENS, ..InfillLimits::default() };
    let request = InfillRequest { limits, ..InfillRequest::new("doctor", segments) };
    let started = Instant::now();
    match engine.infill(&request, &CancelToken::new(), &mut |_| ()) {
        Err(error) => Check::bad(
            "infill",
            Verdict::Problem,
            format!("the model fails: {error}"),
            "try the embedded model (take server.model out); if that fails too, please report it",
        ),
        Ok(infill) => {
            let (ms, tokens) = (started.elapsed().as_millis(), infill.stats.tokens);
            let found = format!("{tokens} tokens in {ms} ms, {} forwards", infill.stats.forwards);
            if ms > SLOW_MS {
                let mend = "close what else uses the CPU, lower completion.maxTokens, or name a smaller model";
                return Check::bad("infill", Verdict::Warning, found, mend);
            }
            Check::good("infill", found)
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_open_socket_is_seen() {
        let _socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let found = sockets();
        assert_eq!(found.verdict, Verdict::Warning);
        assert!(found.found.ends_with("open, although the server needs none"), "{}", found.found);
    }
}
