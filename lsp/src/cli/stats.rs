//! `stats`: the local counts of suggestions.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use diffcoder_lsp::stats::{self, Stats};
use serde_json::json;

use crate::args::StatsArgs;

/// Prints the counts.
pub(crate) fn run(args: &StatsArgs) -> anyhow::Result<ExitCode> {
    let file = stats::file().context("there is no home directory: set XDG_STATE_HOME")?;
    let counts = stats::read(&file)
        .with_context(|| format!("cannot read {}: delete it to begin anew", file.display()))?;
    let mut out = anstream::stdout().lock();
    if args.json {
        let report = json!({
            "file": file, "since": counts.since, "shown": counts.shown, "accepted": counts.accepted,
            "nothing": counts.nothing, "answers": counts.answers(),
            "latencyMs": { "p50": counts.latency_ms(0.5), "p95": counts.latency_ms(0.95) },
        });
        writeln!(out, "{report}")?;
    } else {
        write!(out, "{}", table(&counts))?;
        writeln!(out, "counted in {}, on this machine alone", file.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(counts: &Stats) -> String {
    let mut lines = vec![
        ("shown".to_owned(), counts.shown.to_string()),
        ("accepted".to_owned(), counts.accepted.to_string()),
    ];
    for (share, name) in [(0.5, "half of the answers"), (0.95, "95 % of the answers")] {
        let within = match (counts.answers(), counts.latency_ms(share)) {
            (0, _) => "-".to_owned(),
            (_, Some(ms)) => format!("within {ms} ms"),
            (_, None) => "later than 5 s".to_owned(),
        };
        lines.push((name.to_owned(), within));
    }
    for (reason, count) in &counts.nothing {
        lines.push((format!("nothing shown: {reason}"), count.to_string()));
    }
    lines.iter().map(|(name, value)| format!("{name:<32}{value}\n")).collect()
}
