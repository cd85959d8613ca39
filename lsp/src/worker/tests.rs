//! The queue and the model's life, without a protocol.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use diffcoder_engine::infiller::InfillStats;

use super::*;

struct Empty;

impl Infiller for Empty {
    fn infill(
        &mut self,
        _request: &InfillRequest,
        _cancel: &CancelToken,
        _on_frame: &mut dyn FnMut(&Frame),
    ) -> Result<Infill, InfillError> {
        let stats = InfillStats::default();
        Ok(Infill { holes: Vec::new(), alternatives: Vec::new(), stats })
    }

    fn model_name(&self) -> &str {
        "empty"
    }
}

#[tokio::test]
async fn an_unused_model_leaves_the_memory_and_comes_back() {
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let loader = Box::new(move |_: Option<&Path>| -> Result<Box<dyn Infiller>, String> {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Empty))
    });
    let (worker, end) = Worker::start(loader, None);
    let mut state = worker.state();
    worker.configure(None, Some(Duration::from_millis(1)));
    for round in 1..3 {
        state.wait_for(|state| state.life == Life::Unloaded).await.unwrap();
        assert_eq!(loads.load(Ordering::Relaxed), round);
        let request = InfillRequest::new("a", Vec::new());
        let pending = worker.submit("a", Lane::Completion, Box::new(move || request), None);
        assert!(pending.outcome().await.is_ok());
    }
    worker.close();
    end.wait().await;
}
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
    let mut noting = Some(noting);
    let loader = Box::new(move |_: Option<&Path>| -> Result<Box<dyn Infiller>, String> {
        let noting = noting.take().ok_or("loaded twice")?;
        Ok(Box::new(noting))
    });
    (Worker::start(loader, None).0, done, gate)
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
