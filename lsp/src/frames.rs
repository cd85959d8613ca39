//! `$/diffcoder/frame`: live denoising for the client that asked for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use diffcoder_engine::infiller::{Frame, FrameCell};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until};
use tower_lsp::Client;
use tower_lsp::gen_lsp_types::{LspNotificationMethod, MessageDirection, Notification, Range};

/// At most 15 frames a second.
const FRAME_INTERVAL: Duration = Duration::from_millis(67);

/// Takes the frames of one job, on the model's thread.
pub(crate) type FrameSink = Box<dyn FnMut(&Frame) + Send>;

/// By which a client tells its requests' frames apart.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum FrameToken {
    Number(i64),
    Text(String),
}

/// Sends the frames of one request.
pub(crate) struct Frames {
    client: Client,
    token: FrameToken,
    /// For each hole in reading order, its place among the ranges of the request, and its range.
    ranges: Vec<(usize, Range)>,
    arriving: UnboundedReceiver<Frame>,
}

/// Parameters of `$/diffcoder/frame`.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct FrameParams {
    token: FrameToken,
    hole: usize,
    range: Range,
    forwards: usize,
    /// `None` is still a mask.
    cells: Vec<Option<CellParams>>,
}

#[derive(Debug, Deserialize, Serialize)]
struct CellParams {
    text: String,
    confidence: f32,
}

struct FrameNotification;

impl Notification for FrameNotification {
    type Params = FrameParams;
    const METHOD: LspNotificationMethod<'static> =
        LspNotificationMethod::Custom("$/diffcoder/frame");
    const MESSAGE_DIRECTION: MessageDirection = MessageDirection::ServerToClient;
}

impl Frames {
    /// The sender, and the sink that feeds it.
    pub(crate) fn new(
        client: Client,
        token: FrameToken,
        ranges: Vec<(usize, Range)>,
    ) -> (Self, FrameSink) {
        let (sender, arriving) = unbounded_channel();
        // Nobody may be left to look at them.
        let sink = move |frame: &Frame| drop(sender.send(frame.clone()));
        (Self { client, token, ranges, arriving }, Box::new(sink))
    }

    /// Sends the newest frame of each hole, at most every [`FRAME_INTERVAL`], until `outcome` is there; then the last
    /// ones, so that the client has seen every hole as it ended.
    pub(crate) async fn while_waiting<T>(mut self, outcome: impl Future<Output = T>) -> T {
        let mut outcome = pin!(outcome);
        let mut newest: BTreeMap<usize, Frame> = BTreeMap::new();
        let mut next = Instant::now();
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut outcome => break outcome,
                Some(frame) = self.arriving.recv() => {
                    newest.insert(frame.hole, frame);
                }
                () = sleep_until(next), if !newest.is_empty() => {
                    self.send(std::mem::take(&mut newest)).await;
                    next = Instant::now() + FRAME_INTERVAL;
                }
            }
        };
        while let Ok(frame) = self.arriving.try_recv() {
            newest.insert(frame.hole, frame);
        }
        self.send(newest).await;
        outcome
    }

    async fn send(&self, frames: BTreeMap<usize, Frame>) {
        for Frame { hole, forwards, cells } in frames.into_values() {
            let Some(&(place, range)) = self.ranges.get(hole) else { continue };
            let cells = cells.into_iter().map(|cell| match cell {
                FrameCell::Masked => None,
                FrameCell::Committed { text, confidence } => Some(CellParams { text, confidence }),
            });
            let params = FrameParams {
                token: self.token.clone(),
                hole: place,
                range,
                forwards,
                cells: cells.collect(),
            };
            self.client.send_notification::<FrameNotification>(params).await;
        }
    }
}
