//! What reading prompts in bf16 changes: the same held-out holes filled by an f32 engine and by one as it serves,
//! and the logits after prompts of validation text.
#![expect(clippy::print_stdout, reason = "the answers")]

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::engine::Engine;
use diffcoder_engine::infiller::{InfillRequest, Infiller as _, Segment};
use diffcoder_engine::model::RowGroup;
use diffcoder_engine::model::mask::SequenceMask;
use diffcoder_train::data::Split;
use diffcoder_train::data::corpus::read_split;
use diffcoder_train::data::holes::{HoleKind, held_out_holes};

#[derive(Parser)]
struct Args {
    /// Model directory.
    #[arg(long)]
    model: PathBuf,
    /// Corpus folder.
    #[arg(long)]
    data: PathBuf,
    /// Holes to fill.
    #[arg(long, default_value_t = 200)]
    holes: usize,
}

fn main() -> Result<()> {
    let Args { model, data, holes } = Args::parse();
    let documents = read_split(&data, Split::Validation)?;
    let mut engines = [Engine::from_dir(&model)?.with_f32_prefill(), Engine::from_dir(&model)?];

    let text: String = documents.iter().map(|document| document.text.as_str()).collect();
    let tokens = engines[0].tokenizer().encode(&text.chars().take(40_000).collect::<String>())?;
    for len in [1024, 2048] {
        let (mut largest, mut scale, mut same, mut count) = (0f32, 0f32, 0, 0);
        for prompt in tokens.chunks_exact(len) {
            let [exact, rounded] = [&engines[0], &engines[1]].map(|engine| {
                let mut cache = engine.model().new_cache();
                let group = RowGroup {
                    cache: &mut cache,
                    tokens: prompt,
                    mask: SequenceMask::BlockCausal { block: 4 },
                    commit: len,
                    logits: 0..len,
                    branches: &[],
                };
                engine.model().forward(&mut [group])
            });
            let (exact, rounded) = (exact?.to_vec2::<f32>()?, rounded?.to_vec2::<f32>()?);
            for (exact, rounded) in exact.iter().zip(&rounded) {
                let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
                same += usize::from(best(exact) == best(rounded));
                count += 1;
                for (a, b) in exact.iter().zip(rounded) {
                    largest = largest.max((a - b).abs());
                    scale = scale.max(a.abs());
                }
            }
        }
        println!(
            "prefill of {len}: logits differ by at most {largest:.3} of {scale:.1}; the likeliest token is the same in \
             {same} of {count} rows"
        );
    }

    let (mut same, mut exact, mut count) = (0, [0; 2], 0);
    for (index, hole) in
        held_out_holes(&documents, HoleKind::SingleLine, holes, 1).iter().enumerate()
    {
        let segments = vec![
            Segment::Text(hole.prefix.as_str().into()),
            Segment::Hole { draft: Arc::from("") },
            Segment::Text(format!("{}\n{}", hole.rest, hole.suffix).into()),
        ];
        let request = InfillRequest::new(format!("hole {index}"), segments);
        let mut fills = Vec::new();
        for (engine, exact) in engines.iter_mut().zip(&mut exact) {
            let infill = engine.infill(&request, &CancelToken::new(), &mut |_| ())?;
            let fill = infill.holes[0].text.clone();
            *exact += usize::from(fill == hole.middle);
            fills.push(fill);
        }
        same += usize::from(fills[0] == fills[1]);
        count += 1;
    }
    println!(
        "{same} of {count} greedy fills are the same; exact matches: f32 {}, bf16 prefill {}",
        exact[0], exact[1]
    );
    Ok(())
}
