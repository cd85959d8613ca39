//! The thread that owns the model, and the queue in front of it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use diffcoder_engine::cancel::{CancelOnDrop, CancelToken};
use diffcoder_engine::infiller::{
    Frame, Infill, InfillError, InfillRequest, Infiller, Score, ScoreRequest,
};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::error::RequestError;
use crate::frames::FrameSink;

/// Most jobs that wait. There is at most one per document, and the transport must stay far from its own limit.
const MAX_WAITING_JOBS: usize = 64;

type Outcome<T> = Result<T, RequestError>;

/// Handle to the model's thread. Its methods never block for longer than a queue operation.
#[derive(Debug)]
pub(crate) struct Worker(Arc<Shared>);

/// Resolves once the thread has ended and the model is dropped.
#[derive(Debug)]
pub(crate) struct WorkerEnd(oneshot::Receiver<()>);

/// A job's answer to come. Dropping it cancels the job.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    outcome: oneshot::Receiver<Outcome<T>>,
    _cancel: CancelOnDrop,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    related_tokens: usize,
}

#[derive(Debug, Default)]
struct Queue {
    /// Oldest first.
    waiting: VecDeque<Job>,
    /// Whom to answer for the job under way; `None` as soon as that is done, be it before the model returns.
    running: Option<Ticket>,
    is_closed: bool,
}

#[derive(Debug)]
struct Job {
    work: Work,
    ticket: Ticket,
    /// Not begun before.
    ready: Instant,
}

/// Makes a request on the model's thread: what parses a document must not hold up the messages of the client, and is
/// not worth doing for a job that never begins.
pub(crate) type MakeRequest = Box<dyn FnOnce() -> InfillRequest + Send>;

/// What the model does for a job.
enum Work {
    Infill(MakeRequest, Option<FrameSink>),
    Score(ScoreRequest),
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Infill(..) => f.write_str("Infill"),
            Self::Score(request) => f.debug_tuple("Score").field(request).finish(),
        }
    }
}

/// Who waits for a job's result.
#[derive(Debug)]
enum Reply {
    Infill(oneshot::Sender<Outcome<Infill>>),
    Score(oneshot::Sender<Outcome<Score>>),
}

/// A job's result.
enum Done {
    Infill(Outcome<Infill>),
    Score(Outcome<Score>),
}

/// Requests that take each other's place: a newer one stops an older one of its lane for the same document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What typing asks for.
    Completion,
    /// What a person has asked for: typing does not stop it.
    Command,
    /// What a heat map shows.
    Score,
}

#[derive(Debug)]
struct Ticket {
    document_key: String,
    lane: Lane,
    cancel: CancelToken,
    reply: Reply,
}

impl Ticket {
    /// Stops the job and answers it.
    fn retire(self, reason: RequestError) {
        self.cancel.cancel();
        // Nobody listens any more if the client cancelled; then the answer has been given elsewhere.
        match self.reply {
            Reply::Infill(reply) => drop(reply.send(Err(reason))),
            Reply::Score(reply) => drop(reply.send(Err(reason))),
        }
    }

    fn answer(self, done: Done) {
        match (self.reply, done) {
            (Reply::Infill(reply), Done::Infill(outcome)) => drop(reply.send(outcome)),
            (Reply::Score(reply), Done::Score(outcome)) => drop(reply.send(outcome)),
            // A job's work and reply are made together, in `submit` and `submit_score`.
            (reply, _) => drop(reply),
        }
    }
}

impl Queue {
    /// Stops and answers every job whose document `belongs`.
    fn retire(&mut self, belongs: impl Fn(&Ticket) -> bool, reason: impl Fn(&str) -> RequestError) {
        let (retired, kept): (VecDeque<Job>, _) =
            self.waiting.drain(..).partition(|job| belongs(&job.ticket));
        self.waiting = kept;
        let running = self.running.take_if(|ticket| belongs(ticket));
        for ticket in retired.into_iter().map(|job| job.ticket).chain(running) {
            let reason = reason(&ticket.document_key);
            ticket.retire(reason);
        }
    }
}

/// The two ends of an infill to come.
fn infill_ticket(document_key: &str, lane: Lane) -> (Pending<Infill>, Ticket) {
    let cancel = CancelToken::new();
    let (reply, outcome) = oneshot::channel();
    let pending = Pending { outcome, _cancel: cancel.cancel_on_drop() };
    let reply = Reply::Infill(reply);
    (pending, Ticket { document_key: document_key.to_owned(), lane, cancel, reply })
}

impl Worker {
    /// Starts the thread that owns `infiller`.
    pub(crate) fn start(infiller: Box<dyn Infiller>) -> (Self, WorkerEnd) {
        let related_tokens = infiller.related_tokens();
        let shared = Arc::new(Shared { related_tokens, ..Shared::default() });
        let (ended, end) = oneshot::channel();
        let worker = Self(Arc::clone(&shared));
        thread::Builder::new()
            .name("infiller".to_owned())
            .spawn(move || {
                shared.run(infiller);
                drop(ended);
            })
            .expect("a process that cannot start one thread cannot serve");
        (worker, WorkerEnd(end))
    }

    /// Most tokens of other files that the model has use for.
    pub(crate) fn related_tokens(&self) -> usize {
        self.0.related_tokens
    }

    /// Queues `request` for a document; an older one of the same lane is stopped and answered with `Superseded`.
    /// `frames` is called after every denoising step.
    pub(crate) fn submit(
        &self,
        document_key: &str,
        lane: Lane,
        request: InfillRequest,
        frames: Option<FrameSink>,
    ) -> Pending<Infill> {
        let (pending, ticket) = infill_ticket(document_key, lane);
        let work = Work::Infill(Box::new(move || request), frames);
        self.enqueue(&mut self.0.queue.lock(), work, ticket, Duration::ZERO);
        pending
    }

    /// As [`Self::submit`] for a request that is made when its turn comes, after `delay` at the earliest.
    pub(crate) fn submit_later(
        &self,
        document_key: &str,
        lane: Lane,
        make: MakeRequest,
        delay: Duration,
    ) -> Pending<Infill> {
        let (pending, ticket) = infill_ticket(document_key, lane);
        self.enqueue(&mut self.0.queue.lock(), Work::Infill(make, None), ticket, delay);
        pending
    }

    /// Stops and answers what a newer request has made pointless that needs no model itself.
    pub(crate) fn supersede(&self, document_key: &str, lane: Lane) {
        self.0.queue.lock().retire(
            |older| older.document_key == document_key && older.lane == lane,
            |key| RequestError::Superseded(key.to_owned()),
        );
    }

    /// Queues a score for a document; an older one for it is stopped and answered with `Superseded`.
    pub(crate) fn submit_score(&self, document_key: &str, request: ScoreRequest) -> Pending<Score> {
        let cancel = CancelToken::new();
        let (reply, outcome) = oneshot::channel();
        let pending = Pending { outcome, _cancel: cancel.cancel_on_drop() };
        let (lane, reply) = (Lane::Score, Reply::Score(reply));
        let ticket = Ticket { document_key: document_key.to_owned(), lane, cancel, reply };
        self.enqueue(&mut self.0.queue.lock(), Work::Score(request), ticket, Duration::ZERO);
        pending
    }

    fn enqueue(&self, queue: &mut Queue, work: Work, ticket: Ticket, delay: Duration) {
        if queue.is_closed {
            return ticket.retire(RequestError::ShuttingDown);
        }
        queue.waiting.retain(|job| !job.ticket.cancel.is_cancelled());
        // A document keeps its place in the queue: whoever types faster must not wait longer.
        let place = queue.waiting.iter().position(|job| {
            job.ticket.document_key == ticket.document_key && job.ticket.lane == ticket.lane
        });
        queue.retire(
            |older| older.document_key == ticket.document_key && older.lane == ticket.lane,
            |key| RequestError::Superseded(key.to_owned()),
        );
        if queue.waiting.len() >= MAX_WAITING_JOBS
            && let Some(oldest) = queue.waiting.pop_front()
        {
            oldest.ticket.retire(RequestError::Overload);
        }
        let place = place.unwrap_or(queue.waiting.len()).min(queue.waiting.len());
        queue.waiting.insert(place, Job { work, ticket, ready: Instant::now() + delay });
        self.0.changed.notify_one();
    }

    /// Queues `request` as the second part of a job that is done; an error if a newer one has come in between.
    pub(crate) fn submit_again(
        &self,
        document_key: &str,
        lane: Lane,
        request: InfillRequest,
    ) -> Result<Pending<Infill>, RequestError> {
        // One lock for look and entry: a request that came in between them would be stopped by this older one.
        let mut queue = self.0.queue.lock();
        let waiting = queue.waiting.iter().map(|job| &job.ticket);
        let is_newer = |ticket: &Ticket| {
            ticket.document_key == document_key
                && ticket.lane == lane
                && !ticket.cancel.is_cancelled()
        };
        if waiting.chain(&queue.running).any(is_newer) {
            return Err(RequestError::Superseded(document_key.to_owned()));
        }
        let (pending, ticket) = infill_ticket(document_key, lane);
        let work = Work::Infill(Box::new(move || request), None);
        self.enqueue(&mut queue, work, ticket, Duration::ZERO);
        Ok(pending)
    }

    /// Stops and answers what is queued or running for the document.
    pub(crate) fn cancel_document(&self, document_key: &str) {
        self.0.queue.lock().retire(
            |ticket| ticket.document_key == document_key,
            |key| RequestError::DocumentClosed(key.to_owned()),
        );
    }

    /// Stops and answers every job, takes no more, and lets the thread end.
    pub(crate) fn close(&self) {
        let mut queue = self.0.queue.lock();
        queue.is_closed = true;
        queue.retire(|_| true, |_| RequestError::ShuttingDown);
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn run(&self, mut infiller: Box<dyn Infiller>) {
        while let Some((work, document_key, cancel)) = self.next_job() {
            let done = match work {
                Work::Infill(make, mut frames) => Done::Infill(guarded(&document_key, || {
                    let mut on_frame = |frame: &Frame| {
                        if let Some(sink) = &mut frames {
                            sink(frame);
                        }
                    };
                    infiller.infill(&make(), &cancel, &mut on_frame)
                })),
                Work::Score(request) => Done::Score(guarded(&request.document_key, || {
                    infiller.score(&request, &cancel)
                })),
            };
            let ticket = self.queue.lock().running.take();
            if let Some(ticket) = ticket {
                ticket.answer(done);
            }
        }
    }

    /// Waits for a job that somebody still wants and whose time has come; `None` once closed.
    fn next_job(&self) -> Option<(Work, String, CancelToken)> {
        let mut queue = self.queue.lock();
        loop {
            if queue.is_closed {
                return None;
            }
            queue.waiting.retain(|job| !job.ticket.cancel.is_cancelled());
            let now = Instant::now();
            let first = queue.waiting.iter().position(|job| job.ready <= now);
            if let Some(Job { work, ticket, .. }) = first.and_then(|at| queue.waiting.remove(at)) {
                let (document_key, cancel) = (ticket.document_key.clone(), ticket.cancel.clone());
                queue.running = Some(ticket);
                return Some((work, document_key, cancel));
            }
            match queue.waiting.iter().map(|job| job.ready).min() {
                Some(ready) => drop(self.changed.wait_until(&mut queue, ready)),
                None => self.changed.wait(&mut queue),
            }
        }
    }
}

/// Runs the model; a panic becomes the answer.
fn guarded<T>(document_key: &str, run: impl FnOnce() -> Result<T, InfillError>) -> Outcome<T> {
    let outcome = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(RequestError::from),
        Err(payload) => Err(RequestError::from_panic(&*payload)),
    };
    if let Err(error @ (RequestError::Panicked(_) | RequestError::Infill(_))) = &outcome {
        tracing::debug!(document = document_key, "no result: {error}");
    }
    outcome
}

impl<T> Pending<T> {
    /// Waits for the answer.
    pub(crate) async fn outcome(self) -> Outcome<T> {
        // The guard lives in `self` until here. A sender dropped unsent can only mean that the thread is gone.
        let Self { outcome, _cancel } = self;
        outcome.await.unwrap_or(Err(RequestError::ShuttingDown))
    }
}

impl WorkerEnd {
    /// Waits until the thread has ended.
    pub(crate) async fn wait(self) {
        // The sender is dropped, never used: an error is the signal.
        drop(self.0.await);
    }
}

#[cfg(test)]
mod tests {
    use diffcoder_engine::infiller::InfillStats;

    use super::*;

    /// Notes whom it works for, and begins when the test lets it.
    struct Noting {
        done: Arc<Mutex<Vec<String>>>,
        gate: Arc<Mutex<()>>,
    }

    impl Infiller for Noting {
        fn model_name(&self) -> &str {
            "noting"
        }

        fn infill(
            &mut self,
            request: &InfillRequest,
            _cancel: &CancelToken,
            _on_frame: &mut dyn FnMut(&Frame),
        ) -> Result<Infill, InfillError> {
            drop(self.gate.lock());
            self.done.lock().push(request.document_key.clone());
            let stats = InfillStats::default();
            Ok(Infill { holes: Vec::new(), alternatives: Vec::new(), stats })
        }
    }

    type Done = Arc<Mutex<Vec<String>>>;
    type Gate = Arc<Mutex<()>>;

    fn worker() -> (Worker, Done, Gate) {
        let (done, gate) = (Done::default(), Gate::default());
        let noting = Noting { done: Arc::clone(&done), gate: Arc::clone(&gate) };
        (Worker::start(Box::new(noting)).0, done, gate)
    }

    fn ask(worker: &Worker, key: &str, delay: Duration) -> Pending<Infill> {
        let request = InfillRequest::new(key, Vec::new());
        worker.submit_later(key, Lane::Completion, Box::new(move || request), delay)
    }

    fn soon(worker: &Worker, key: &str) -> Pending<Infill> {
        ask(worker, key, Duration::ZERO)
    }

    #[tokio::test]
    async fn whoever_types_fast_keeps_the_documents_place() {
        let (worker, done, gate) = worker();
        let held = gate.lock();
        let busy = soon(&worker, "busy");
        let mut older = Vec::new();
        let (a, mut b) = (soon(&worker, "a"), soon(&worker, "b"));
        let c = soon(&worker, "c");
        for _ in 0..5 {
            older.push(std::mem::replace(&mut b, soon(&worker, "b")));
        }
        drop(held);
        for pending in [busy, a, b, c] {
            assert!(pending.outcome().await.is_ok());
        }
        for pending in older {
            assert!(matches!(pending.outcome().await, Err(RequestError::Superseded(_))));
        }
        assert_eq!(*done.lock(), ["busy", "a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_request_that_waits_for_its_time_holds_nobody_up_and_can_be_superseded() {
        const FAR: Duration = Duration::from_secs(600);
        let (worker, done, _gate) = worker();
        let (later, other) = (ask(&worker, "a", FAR), soon(&worker, "b"));
        assert!(other.outcome().await.is_ok());
        let newer = soon(&worker, "a");
        assert!(newer.outcome().await.is_ok());
        assert!(matches!(later.outcome().await, Err(RequestError::Superseded(_))));
        let last = ask(&worker, "a", FAR);
        worker.supersede("a", Lane::Completion);
        assert!(matches!(last.outcome().await, Err(RequestError::Superseded(_))));
        let soon = ask(&worker, "a", Duration::from_millis(1));
        assert!(soon.outcome().await.is_ok());
        assert_eq!(*done.lock(), ["b", "a", "a"]);
    }
}
