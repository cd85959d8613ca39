//! The thread that owns the model, and the queue in front of it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use diffcoder_engine::cancel::{CancelOnDrop, CancelToken};
use diffcoder_engine::infiller::{
    Frame, Infill, InfillError, InfillRequest, Infiller, Score, ScoreRequest, Task,
};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{oneshot, watch};

use crate::backend::Loader;
use crate::error::RequestError;
use crate::frames::FrameSink;
use crate::model_state::{Held, Life, ModelState};

/// Most jobs that wait. There is at most one per document, and the transport must stay far from its own limit.
const MAX_WAITING_JOBS: usize = 64;

/// How long a session's begin waits for the model.
const LOAD_WAIT: Duration = Duration::from_secs(2);

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

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    state: watch::Sender<ModelState>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Oldest first.
    waiting: VecDeque<Job>,
    /// Whom to answer for the job under way; `None` as soon as that is done, be it before the model returns.
    running: Option<Ticket>,
    is_closed: bool,
    /// Goes before every waiting job.
    order: Option<Order>,
    /// Where the model comes from; `None` is the embedded one.
    model_dir: Option<PathBuf>,
    /// After which silence the model leaves the memory.
    idle_unload: Option<Duration>,
    is_distrusted: bool,
}

/// What becomes of the model, and who waits for it.
#[derive(Debug)]
struct Order {
    change: Change,
    done: Vec<oneshot::Sender<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Unload,
    Reload,
}

/// What the thread does next.
enum Next {
    Run { work: Work, document_key: String, cancel: CancelToken },
    Change(Order),
    End,
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
    /// Starts the thread that owns the model, which it loads first.
    pub(crate) fn start(loader: Loader, model_dir: Option<PathBuf>) -> (Self, WorkerEnd) {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { model_dir, ..Queue::default() }),
            changed: Condvar::new(),
            state: watch::Sender::new(ModelState::default()),
        });
        let (ended, end) = oneshot::channel();
        let worker = Self(Arc::clone(&shared));
        thread::Builder::new()
            .name("infiller".to_owned())
            .spawn(move || {
                shared.run(Held::new(loader));
                drop(ended);
            })
            .expect("a process that cannot start one thread cannot serve");
        (worker, WorkerEnd(end))
    }

    /// Waits until the first load is over, for a while: a large model must not keep an editor from starting.
    pub(crate) async fn loaded(&self) {
        let mut state = self.state();
        let over = state.wait_for(|state| state.life != Life::Loading);
        // Late or gone: `refusal` has an answer either way.
        drop(tokio::time::timeout(LOAD_WAIT, over).await);
    }

    /// Why the model cannot do `task`; `None` if it can.
    pub(crate) fn refusal(&self, task: Task) -> Option<String> {
        self.0.state.borrow().refusal(task)
    }

    /// Most tokens of other files that the model has use for.
    pub(crate) fn related_tokens(&self) -> usize {
        self.0.state.borrow().related_tokens
    }

    /// Queues `request` for a document; an older one of the same lane is stopped and answered with `Superseded`.
    /// `frames` is called after every denoising step.
    pub(crate) fn submit(
        &self,
        document_key: &str,
        lane: Lane,
        make: MakeRequest,
        frames: Option<FrameSink>,
    ) -> Pending<Infill> {
        let (pending, ticket) = infill_ticket(document_key, lane);
        let work = Work::Infill(make, frames);
        self.enqueue(&mut self.0.queue.lock(), work, ticket, Duration::ZERO);
        pending
    }

    /// As [`Self::submit`], but after `delay` at the earliest.
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

    /// Queues a score for a document; an older job of the same lane is stopped and answered with `Superseded`.
    pub(crate) fn submit_score(
        &self,
        document_key: &str,
        lane: Lane,
        request: ScoreRequest,
    ) -> Pending<Score> {
        let cancel = CancelToken::new();
        let (reply, outcome) = oneshot::channel();
        let pending = Pending { outcome, _cancel: cancel.cancel_on_drop() };
        let reply = Reply::Score(reply);
        let ticket = Ticket { document_key: document_key.to_owned(), lane, cancel, reply };
        self.enqueue(&mut self.0.queue.lock(), Work::Score(request), ticket, Duration::ZERO);
        pending
    }

    fn enqueue(&self, queue: &mut Queue, work: Work, ticket: Ticket, delay: Duration) {
        if queue.is_closed {
            return ticket.retire(RequestError::ShuttingDown);
        }
        if queue.is_distrusted {
            return ticket.retire(RequestError::Untrusted);
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

    /// Computes nothing from now on.
    pub(crate) fn distrust(&self) {
        let mut queue = self.0.queue.lock();
        queue.is_distrusted = true;
        queue.retire(|_| true, |_| RequestError::Untrusted);
    }

    /// The model's state, now and as it changes.
    pub(crate) fn state(&self) -> watch::Receiver<ModelState> {
        self.0.state.subscribe()
    }

    /// Frees the model's memory when the job under way is done; the next job loads it again.
    pub(crate) async fn unload(&self) {
        self.order(Change::Unload).await;
    }

    /// Loads the model afresh when the job under way is done.
    pub(crate) async fn reload(&self) {
        self.order(Change::Reload).await;
    }

    async fn order(&self, change: Change) {
        let (sender, done) = oneshot::channel();
        {
            let mut queue = self.0.queue.lock();
            if queue.is_closed {
                // The thread takes no more orders; one left in the queue would be waited for without end.
                return;
            }
            let order = queue.order.get_or_insert(Order { change, done: Vec::new() });
            order.change = change;
            order.done.push(sender);
        }
        self.0.changed.notify_one();
        // The sender is dropped unused when the thread has ended: there is nothing left to wait for.
        drop(done.await);
    }

    /// Where the model comes from at the next load, and how long it stays unused.
    ///
    /// A model from another place is loaded at once.
    pub(crate) fn configure(&self, model_dir: Option<PathBuf>, idle_unload: Option<Duration>) {
        let mut queue = self.0.queue.lock();
        if queue.model_dir != model_dir {
            queue.model_dir = model_dir;
            queue.order.get_or_insert(Order { change: Change::Reload, done: Vec::new() });
        } else if queue.idle_unload == idle_unload {
            return;
        }
        queue.idle_unload = idle_unload;
        self.0.changed.notify_one();
    }

    /// Stops and answers every job, takes no more, and lets the thread end.
    pub(crate) fn close(&self) {
        let mut queue = self.0.queue.lock();
        queue.is_closed = true;
        queue.order = None;
        queue.retire(|_| true, |_| RequestError::ShuttingDown);
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn run(&self, mut model: Held) {
        self.load(&mut model);
        loop {
            match self.next(&model) {
                Next::End => return,
                Next::Change(order) => {
                    model.unload();
                    self.state.send_replace(ModelState::unloaded());
                    if order.change == Change::Reload {
                        self.load(&mut model);
                    }
                    for done in order.done {
                        // Whoever asked may be gone.
                        _ = done.send(());
                    }
                }
                Next::Run { work, document_key, cancel } => {
                    if !model.is_loaded() && !model.has_failed() {
                        self.load(&mut model);
                    }
                    self.state.send_modify(|state| state.is_busy = true);
                    let done = model
                        .infiller()
                        .map(|infiller| done(work, infiller, (&document_key, &cancel)));
                    self.state.send_replace(model.state());
                    let ticket = self.queue.lock().running.take();
                    match (ticket, done) {
                        (Some(ticket), Ok(done)) => ticket.answer(done),
                        (Some(ticket), Err(reason)) => ticket.retire(RequestError::NoModel(reason)),
                        (None, _) => {}
                    }
                }
            }
        }
    }

    fn load(&self, model: &mut Held) {
        self.state.send_replace(ModelState::loading());
        let dir = self.queue.lock().model_dir.clone();
        model.load(dir.as_deref());
        self.state.send_replace(model.state());
    }

    /// Waits for something to do.
    fn next(&self, model: &Held) -> Next {
        let mut queue = self.queue.lock();
        let mut since = Instant::now();
        loop {
            if queue.is_closed {
                return Next::End;
            }
            if let Some(order) = queue.order.take() {
                return Next::Change(order);
            }
            let n_waiting = queue.waiting.len();
            queue.waiting.retain(|job| !job.ticket.cancel.is_cancelled());
            let now = Instant::now();
            if queue.waiting.len() < n_waiting {
                since = now;
            }
            let first = queue.waiting.iter().position(|job| job.ready <= now);
            if let Some(Job { work, ticket, .. }) = first.and_then(|at| queue.waiting.remove(at)) {
                let (document_key, cancel) = (ticket.document_key.clone(), ticket.cancel.clone());
                queue.running = Some(ticket);
                return Next::Run { work, document_key, cancel };
            }
            let ready = queue.waiting.iter().map(|job| job.ready).min();
            match (ready, queue.idle_unload.filter(|_| model.is_loaded())) {
                (Some(ready), _) => drop(self.changed.wait_until(&mut queue, ready)),
                (None, None) => self.changed.wait(&mut queue),
                (None, Some(idle)) => {
                    let _ = self.changed.wait_until(&mut queue, since + idle);
                    if queue.waiting.is_empty() && since.elapsed() >= idle {
                        return Next::Change(Order { change: Change::Unload, done: Vec::new() });
                    }
                }
            }
        }
    }
}

fn done(
    work: Work,
    infiller: &mut dyn Infiller,
    (document_key, cancel): (&str, &CancelToken),
) -> Done {
    match work {
        Work::Infill(make, mut frames) => Done::Infill(guarded(document_key, || {
            let mut on_frame = |frame: &Frame| {
                if let Some(sink) = &mut frames {
                    sink(frame);
                }
            };
            infiller.infill(&make(), cancel, &mut on_frame)
        })),
        Work::Score(request) => {
            Done::Score(guarded(document_key, || infiller.score(&request, cancel)))
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
mod tests;
