//! An infiller that does what a test says, and remembers what it was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::infiller::{
    Finish, FirstLine, Frame, FrameCell, HoleFill, Infill, InfillError, InfillRequest, InfillStats,
    Infiller, LikelyToken, Score, ScoreRequest, ScoredToken, Segment, Task,
};
use parking_lot::Mutex;

/// How often a scripted forward looks at its cancel token and at the gate.
const FORWARD: Duration = Duration::from_millis(1);
const TIMEOUT: Duration = Duration::from_secs(20);

/// What the infiller does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers at once.
    Fill(&'static str),
    /// Answers at once with a text for each hole; behind the last one they begin anew.
    FillEach(Arc<[String]>),
    /// Answers after so many forwards of a millisecond at least, each with a frame.
    Denoise(&'static str, usize),
    /// Answers at once with alternatives of these confidences, as many as are wanted.
    Choose(&'static [(&'static str, f32)]),
    /// Answers when the test opens the gate; until then it polls its token, once each forward.
    FillWhenOpened(&'static str),
    /// Answers at once, with a confidence in percent.
    FillWith(&'static str, u8),
    /// The same with a confidence of its first line, in percent.
    FillLines(&'static str, u8, u8),
    /// Refuses, with a reason.
    Refuse(&'static str),
    /// Panics.
    Panic(&'static str),
}

/// What the infiller was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) document: String,
    pub(crate) before: String,
    pub(crate) after: String,
    /// What stands in the holes.
    pub(crate) drafts: Vec<String>,
    /// Paths and texts of other files.
    pub(crate) related: Vec<(String, String)>,
}

/// The test's side of the scripted infiller.
pub(crate) struct Script {
    act: Box<dyn Fn(&Asked) -> Act + Send + Sync>,
    asked: Mutex<Vec<Asked>>,
    requests: Mutex<Vec<InfillRequest>>,
    n_cancelled: AtomicUsize,
    gate_is_open: AtomicBool,
    /// Tokens of other files that the model has use for.
    related_tokens: usize,
    /// The model follows instructions.
    instructs: bool,
}

impl Script {
    /// Does the same for every request.
    pub(crate) fn always(act: Act) -> Arc<Self> {
        Self::by(move |_| act.clone())
    }

    pub(crate) fn by(act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            act: Box::new(act),
            asked: Mutex::default(),
            requests: Mutex::default(),
            n_cancelled: AtomicUsize::new(0),
            gate_is_open: AtomicBool::new(false),
            related_tokens: 0,
            instructs: false,
        })
    }

    /// A model with use for text of other files.
    pub(crate) fn with_related_tokens(act: Act, related_tokens: usize) -> Arc<Self> {
        let mut script = Self::always(act);
        Arc::get_mut(&mut script).unwrap().related_tokens = related_tokens;
        script
    }

    /// A model that follows instructions.
    pub(crate) fn that_rewrites(act: Act) -> Arc<Self> {
        let mut script = Self::always(act);
        Arc::get_mut(&mut script).unwrap().instructs = true;
        script
    }

    pub(crate) fn infiller(self: &Arc<Self>) -> Box<dyn Infiller> {
        Box::new(Scripted(Arc::clone(self)))
    }

    pub(crate) fn open_gate(&self) {
        self.gate_is_open.store(true, Ordering::Release);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// Every request to fill, in full.
    pub(crate) fn requests(&self) -> Vec<InfillRequest> {
        self.requests.lock().clone()
    }

    /// Waits until the infiller has begun `n` requests.
    pub(crate) async fn begun(&self, n: usize) {
        wait_for(&format!("request {n} to begin"), || self.asked.lock().len() >= n).await;
    }

    /// Waits until `n` requests saw their token cancelled.
    pub(crate) async fn cancelled(&self, n: usize) {
        wait_for(&format!("cancel {n}"), || self.n_cancelled.load(Ordering::Acquire) >= n).await;
    }
}

async fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < TIMEOUT, "waited {TIMEOUT:?} for {what}");
        tokio::time::sleep(FORWARD).await;
    }
}

struct Scripted(Arc<Script>);

impl Scripted {
    fn wait_for_gate(&self, cancel: &CancelToken) -> Result<(), InfillError> {
        while !self.0.gate_is_open.load(Ordering::Acquire) {
            if cancel.is_cancelled() {
                self.0.n_cancelled.fetch_add(1, Ordering::Release);
                return Err(InfillError::Cancelled);
            }
            std::thread::sleep(FORWARD);
        }
        Ok(())
    }
}

impl Infiller for Scripted {
    fn infill(
        &mut self,
        request: &InfillRequest,
        cancel: &CancelToken,
        on_frame: &mut dyn FnMut(&Frame),
    ) -> Result<Infill, InfillError> {
        let (Some(Segment::Text(before)), Some(Segment::Text(after))) =
            (request.segments.first(), request.segments.last())
        else {
            panic!("holes stand between texts: {:?}", request.segments);
        };
        let drafts = request.segments.iter().filter_map(|segment| match segment {
            Segment::Hole { draft } => Some(draft.to_string()),
            Segment::Text(_) => None,
        });
        let asked = Asked {
            document: request.document_key.clone(),
            before: before.to_string(),
            after: after.to_string(),
            drafts: drafts.collect(),
            related: (request.related.iter())
                .map(|related| (related.path.to_string(), related.text.to_string()))
                .collect(),
        };
        self.0.requests.lock().push(request.clone());
        let n_holes = asked.drafts.len();
        let act = (self.0.act)(&asked);
        self.0.asked.lock().push(asked);
        match act {
            Act::Fill(text) => {
                for hole in 0..n_holes {
                    let token = |text: &str| FrameCell::Committed {
                        text: text.to_owned(),
                        confidence: 0.5,
                    };
                    let states = [vec![FrameCell::Masked; 2], vec![token(text), token(";")]];
                    for (step, cells) in states.into_iter().enumerate() {
                        on_frame(&Frame { hole, forwards: 2 * hole + step + 1, cells });
                    }
                }
                Ok(infill(text, request))
            }
            Act::FillEach(texts) => {
                let mut infill = infill("", request);
                for (hole, text) in infill.holes.iter_mut().zip(texts.iter().cycle()) {
                    hole.text.clone_from(text);
                }
                Ok(infill)
            }
            Act::Denoise(text, n_forwards) => {
                for forwards in 1..=n_forwards {
                    std::thread::sleep(FORWARD);
                    on_frame(&Frame { hole: 0, forwards, cells: vec![FrameCell::Masked] });
                }
                Ok(infill(text, request))
            }
            Act::FillWith(text, percent) => {
                let mut infill = infill(text, request);
                for hole in &mut infill.holes {
                    hole.confidence = f32::from(percent) / 100.0;
                }
                Ok(infill)
            }
            Act::FillLines(text, percent, first_percent) => {
                let mut infill = infill(text, request);
                for hole in &mut infill.holes {
                    hole.confidence = f32::from(percent) / 100.0;
                    let len = text.find('\n').unwrap();
                    let confidence = f32::from(first_percent) / 100.0;
                    hole.first_line = Some(FirstLine { len, confidence });
                }
                Ok(infill)
            }
            Act::Choose(fills) => {
                let mut choices = fills.iter().map(|&(text, confidence)| {
                    let text = text.to_owned();
                    vec![HoleFill { text, confidence, finish: Finish::EndOfText, first_line: None }]
                });
                Ok(Infill {
                    holes: choices.next().unwrap(),
                    alternatives: choices.take(request.alternatives - 1).collect(),
                    stats: InfillStats::default(),
                })
            }
            Act::FillWhenOpened(text) => {
                self.wait_for_gate(cancel)?;
                Ok(infill(text, request))
            }
            Act::Refuse(reason) => Err(InfillError::BadRequest(reason.to_owned())),
            Act::Panic(message) => panic!("{message}"),
        }
    }

    /// Every character is a token; its number is its log-probability, negative.
    fn score(
        &mut self,
        request: &ScoreRequest,
        cancel: &CancelToken,
    ) -> Result<Score, InfillError> {
        let asked = Asked {
            document: request.document_key.clone(),
            before: request.left.to_string(),
            after: request.right.to_string(),
            drafts: vec![request.text.to_string()],
            related: Vec::new(),
        };
        let act = (self.0.act)(&asked);
        self.0.asked.lock().push(asked);
        match act {
            Act::Panic(message) => panic!("{message}"),
            Act::FillWhenOpened(_) => self.wait_for_gate(cancel)?,
            Act::Fill(_)
            | Act::FillEach(_)
            | Act::Denoise(..)
            | Act::FillWith(..)
            | Act::FillLines(..)
            | Act::Choose(_)
            | Act::Refuse(_) => {}
        }
        let likely = |index: usize| LikelyToken { text: format!("{index}"), probability: 0.5 };
        let token = |(number, (start, character)): (usize, (usize, char))| ScoredToken {
            bytes: start..start + character.len_utf8(),
            log_probability: -(number as f64),
            alternatives: (0..request.alternatives).map(likely).collect(),
        };
        Ok(Score { tokens: request.text.char_indices().enumerate().map(token).collect() })
    }

    fn refusal(&self, task: Task) -> Option<String> {
        let cannot = task == Task::Rewrite && !self.0.instructs;
        cannot.then(|| "scripted follows no instructions".to_owned())
    }

    fn related_tokens(&self) -> usize {
        self.0.related_tokens
    }

    fn model_name(&self) -> &str {
        "scripted"
    }
}

/// One hole gets `text`, several get it with their number; alternatives have theirs in front.
fn infill(text: &str, request: &InfillRequest) -> Infill {
    let n_holes = request.segments.len() / 2;
    let fills = |lead: String| -> Vec<HoleFill> {
        (0..n_holes)
            .map(|hole| {
                let number = if n_holes > 1 { hole.to_string() } else { String::new() };
                let text = format!("{lead}{text}{number}");
                HoleFill { text, confidence: 1.0, finish: Finish::EndOfText, first_line: None }
            })
            .collect()
    };
    Infill {
        holes: fills(String::new()),
        alternatives: (1..request.alternatives).map(|index| fills(format!("{index}:"))).collect(),
        stats: InfillStats::default(),
    }
}
