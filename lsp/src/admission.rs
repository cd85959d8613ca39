//! Stands between transport and methods: starts every message in the order of arrival, whatever else is under way.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tower_lsp::jsonrpc::{Error, Id, Request, Response};
use tower_service::Service;

use crate::framing::{MALFORMED, answer_malformed};
use crate::state::Session;

/// Wraps tower-lsp's service.
///
/// tower-lsp polls a message's handler for the first time when one of its concurrency slots is free and the client
/// reads its answers. Polling once on arrival makes the synchronous part of a handler (edits, snapshots, cancels) run in
/// the order of the messages even when neither holds. The poll after it registers the real waker.
#[derive(Debug)]
pub(crate) struct Admission<S> {
    pub(crate) service: S,
    pub(crate) session: Arc<Session>,
}

impl<S> Service<Request> for Admission<S>
where
    S: Service<Request, Response = Option<Response>>,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Option<Response>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Option<Response>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if request.method() == MALFORMED {
            // Without an id it may have been a change to any document.
            if !matches!(request.id(), Some(Id::Number(_) | Id::String(_))) {
                self.session.lose_all_steps();
            }
            return Box::pin(ready(Ok(answer_malformed(request))));
        }
        let is_last = request.method() == "exit";
        let unanswered = unanswered(&request);
        let mut outcome = Box::pin(self.service.call(without_surplus_params(request)));
        let first = outcome.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if is_last {
            self.session.leave();
        }
        match first {
            Poll::Ready(Ok(None)) => Box::pin(ready(Ok(unanswered))),
            Poll::Ready(outcome) => Box::pin(ready(outcome)),
            Poll::Pending => outcome,
        }
    }
}

/// What a request gets that tower-lsp drops: it takes every unknown method that begins with `$/` for a notification, and the
/// specification (base protocol, `$` notifications and requests) wants an error for one that has an id.
fn unanswered(request: &Request) -> Option<Response> {
    let id = request.id().filter(|_| request.method().starts_with("$/"))?.clone();
    Some(Response::from_error(id, Error::method_not_found()))
}

/// These have no parameters, but some clients send an empty object. tower-lsp would refuse it, and shut down half.
fn without_surplus_params(request: Request) -> Request {
    match (request.method(), request.id()) {
        (
            method @ ("shutdown" | "diffcoder/status" | "diffcoder/unload" | "diffcoder/reload"),
            Some(id),
        ) => Request::build(method.to_owned()).id(id.clone()).finish(),
        _ => request,
    }
}
