//! An infiller whose answers follow from what it is asked: fills of every shape, refusals, and slow ones.

use std::time::Duration;

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::infiller::{
    Finish, Frame, FrameCell, HoleFill, Infill, InfillError, InfillRequest, InfillStats, Infiller,
    LikelyToken, Score, ScoreRequest, ScoredToken, Segment, Task,
};

use crate::workspace::NOT_TO_BE_READ;

const FORWARD: Duration = Duration::from_micros(200);
const N_FORWARDS: usize = 8;

/// Texts that have something to finish: indentation, brackets, line ends, characters of several units.
const FILLS: [&str; 10] = [
    "",
    "x",
    "return 1;\n}\n",
    "    let y = f(x);\n    y\n",
    "if a {\n",
    ")])}",
    "\"é漢𝄞",
    "\r\nfn g() {}\r\n",
    "\t\t// TODO: more\n\n\n",
    "def f():\n\tpass\n  x",
];

/// The model of the fuzz targets.
#[derive(Clone, Copy, Debug)]
pub struct Scripted {
    /// Tokens of other files that it has use for.
    pub related_tokens: usize,
}

/// A number that depends on `text` alone.
fn number(text: &str) -> usize {
    text.bytes().fold(text.len(), |sum, byte| (31 * sum + usize::from(byte)) % 1_000_003)
}

fn work(kind: usize, cancel: &CancelToken) -> Result<(), InfillError> {
    match kind % 8 {
        0 => return Err(InfillError::BadRequest("scripted refuses".to_owned())),
        1 => return Err(InfillError::Model("scripted fails".into())),
        2 => {
            for _ in 0..N_FORWARDS {
                if cancel.is_cancelled() {
                    return Err(InfillError::Cancelled);
                }
                std::thread::sleep(FORWARD);
            }
        }
        _ => {}
    }
    Ok(())
}

impl Infiller for Scripted {
    fn infill(
        &mut self,
        request: &InfillRequest,
        cancel: &CancelToken,
        on_frame: &mut dyn FnMut(&Frame),
    ) -> Result<Infill, InfillError> {
        let texts = || request.segments.iter().step_by(2);
        assert!(texts().all(|segment| matches!(segment, Segment::Text(_))), "holes stand apart");
        let Some(Segment::Text(before)) = request.segments.first() else { unreachable!() };
        let drafts: Vec<&str> = (request.segments.iter())
            .filter_map(|segment| match segment {
                Segment::Hole { draft } => Some(&**draft),
                Segment::Text(_) => None,
            })
            .collect();
        assert_eq!(2 * drafts.len() + 1, request.segments.len(), "holes stand between texts");
        assert!(request.alternatives >= 1, "nothing is asked for");
        for related in &request.related {
            assert!(!related.text.contains(NOT_TO_BE_READ), "{} was read", related.path);
        }
        work(number(before), cancel)?;
        let fills = |shift: usize| -> Vec<HoleFill> {
            let fill = |(hole, draft): (usize, &&str)| HoleFill {
                // Now and then what stands there already.
                text: match number(before) + number(draft) + hole + shift {
                    kind if kind % 7 == 0 => (*draft).to_owned(),
                    kind => FILLS[kind % FILLS.len()].to_owned(),
                },
                confidence: (number(draft) % 101) as f32 / 100.0,
                finish: Finish::EndOfText,
                first_line: None,
            };
            drafts.iter().enumerate().map(fill).collect()
        };
        let holes = fills(0);
        for (hole, fill) in holes.iter().enumerate() {
            let token = FrameCell::Committed { text: fill.text.clone(), confidence: 0.5 };
            let cells = vec![token, FrameCell::Masked];
            on_frame(&Frame { hole, forwards: hole + 1, cells });
        }
        let alternatives = (1..request.alternatives).map(fills).collect();
        Ok(Infill { holes, alternatives, stats: InfillStats::default() })
    }

    fn score(
        &mut self,
        request: &ScoreRequest,
        cancel: &CancelToken,
    ) -> Result<Score, InfillError> {
        work(number(&request.left), cancel)?;
        let likely = |index: usize| LikelyToken { text: format!("{index}"), probability: 0.5 };
        let token = |(start, character): (usize, char)| ScoredToken {
            bytes: start..start + character.len_utf8(),
            log_probability: -((number(&request.left) + start) as f64 % 9.0),
            alternatives: (0..request.alternatives).map(likely).collect(),
        };
        Ok(Score { tokens: request.text.char_indices().map(token).collect() })
    }

    fn refusal(&self, _: Task) -> Option<String> {
        None
    }

    fn related_tokens(&self) -> usize {
        self.related_tokens
    }

    fn model_name(&self) -> &str {
        "scripted"
    }
}
