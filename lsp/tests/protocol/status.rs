//! The status, and the model's comings and goings.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diffcoder_lsp::backend::Backend;
use diffcoder_lsp::config::{Config, Machine};
use serde_json::{Value, json};

use crate::harness::{Client, INVALID_PARAMS, REQUEST_FAILED, URI, inserted};
use crate::script::{Act, Script};

/// A server whose model can be loaded again and again; the number of loads.
fn loadable(script: &Arc<Script>) -> (Backend, Arc<AtomicUsize>) {
    let loads = Arc::new(AtomicUsize::new(0));
    let (script, counted) = (Arc::clone(script), Arc::clone(&loads));
    let loader = Box::new(move |_: Option<&std::path::Path>| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(script.infiller())
    });
    (Backend { loader, ..Backend::from(Script::always(Act::Fill("")).infiller()) }, loads)
}

async fn start(backend: Backend) -> Client {
    let mut client = Client::connect_to(backend);
    client.capabilities = client.initialize(json!({})).await["capabilities"].clone();
    client
}

#[tokio::test]
async fn the_status_tells_what_the_model_is_and_does() {
    let script = Script::always(Act::FillWhenOpened("b"));
    let mut client = Client::start(&script).await;
    assert_eq!(client.capabilities["experimental"]["diffcoder"]["status"], true);
    let idle = client.status_with(|status| status["state"] == "idle").await;
    let expected =
        json!({ "state": "idle", "model": "scripted", "device": "cpu", "memoryBytes": 0 });
    assert_eq!(idle, expected);
    client.open(URI, "a\n").await;
    let id = client.ask(URI, 0, 1).await;
    client.status_with(|status| status["state"] == "busy").await;
    script.open_gate();
    client.answer(id).await.unwrap();
    client.status_with(|status| status["lastLatencyMs"].is_u64()).await;
    client.finish().await;
}

#[tokio::test]
async fn an_unloaded_model_comes_back_when_it_is_needed() {
    let script = Script::always(Act::Fill("b"));
    let (backend, loads) = loadable(&script);
    let mut client = start(backend).await;
    client.open(URI, "a\n").await;
    assert_eq!(inserted(&client.complete(0, 1).await), "b");
    let status = client.call("diffcoder/unload", Value::Null).await.unwrap();
    assert_eq!((&status["state"], &status["model"]), (&json!("unloaded"), &json!("")));
    client.status_with(|status| status["state"] == "unloaded").await;
    // Another place: what is known of the first one needs no model.
    assert_eq!(inserted(&client.complete(0, 0).await), "b");
    assert_eq!(loads.load(Ordering::Relaxed), 2);
    let status = client.call("diffcoder/reload", json!({})).await.unwrap();
    assert_eq!((&status["state"], &status["model"]), (&json!("idle"), &json!("scripted")));
    assert_eq!(loads.load(Ordering::Relaxed), 3);
    client.finish().await;
}

#[tokio::test]
async fn commands_do_what_the_requests_do() {
    let (backend, loads) = loadable(&Script::always(Act::Fill("b")));
    let mut client = start(backend).await;
    let announced = client.capabilities["executeCommandProvider"]["commands"].clone();
    for command in ["accepted", "status", "unload", "reload"] {
        let command = format!("diffcoder.server.{command}");
        assert!(announced.as_array().unwrap().contains(&json!(command)), "{announced}");
    }
    let mut run = async |command: &str| {
        client.call("workspace/executeCommand", json!({ "command": command })).await
    };
    assert_eq!(run("diffcoder.server.unload").await.unwrap()["state"], "unloaded");
    assert_eq!(run("diffcoder.server.reload").await.unwrap()["state"], "idle");
    assert_eq!(run("diffcoder.server.status").await.unwrap()["state"], "idle");
    assert_eq!(run("diffcoder.server.accepted").await, Ok(Value::Null));
    let (code, message) = run("diffcoder.server.dance").await.unwrap_err();
    assert_eq!(code, INVALID_PARAMS);
    assert!(message.contains("there is no command diffcoder.server.dance"), "{message}");
    assert_eq!(loads.load(Ordering::Relaxed), 2);
    client.finish().await;
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_said_and_can_be_mended() {
    let script = Script::always(Act::Fill("b"));
    let mut attempts = 0;
    let loader = Box::new(move |_: Option<&std::path::Path>| {
        attempts += 1;
        if attempts == 1 { Err("the disk is on fire".to_owned()) } else { Ok(script.infiller()) }
    });
    let backend = Backend { loader, ..Backend::from(Script::always(Act::Fill("")).infiller()) };
    let mut client = start(backend).await;
    assert_eq!(client.shown().await, "diffcoder: there is no model: the disk is on fire");
    client.open(URI, "a\n").await;
    let (code, message) = client.complete(0, 1).await.unwrap_err();
    assert_eq!(code, REQUEST_FAILED);
    assert!(message.contains("the disk is on fire"), "{message}");
    let status = client.call("diffcoder/status", Value::Null).await.unwrap();
    assert_eq!(
        (&status["state"], &status["message"]),
        (&json!("failed"), &json!("the disk is on fire"))
    );
    assert_eq!(client.call("diffcoder/reload", Value::Null).await.unwrap()["state"], "idle");
    assert_eq!(inserted(&client.complete(0, 1).await), "b");
    client.finish().await;
}

#[tokio::test]
async fn another_model_in_the_settings_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, "server.model = \"one\"").unwrap();
    let (machine, _) = Machine::read(Some(path.clone()), []);
    let script = Script::always(Act::Fill("b"));
    let dirs = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&dirs);
    let loader = Box::new(move |dir: Option<&std::path::Path>| {
        seen.lock().push(dir.unwrap().to_owned());
        Ok(script.infiller())
    });
    let backend = Backend {
        loader,
        config: Config::new(machine, Vec::new()),
        ..Backend::from(Script::always(Act::Fill("")).infiller())
    };
    let mut client = start(backend).await;
    client.status_with(|status| status["state"] == "idle").await;
    std::fs::write(&path, "server.model = \"another\"").unwrap();
    // The file is looked at with a request, at most once a second.
    client.open(URI, "a\n").await;
    while dirs.lock().len() < 2 {
        client.complete(0, 1).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(*dirs.lock(), [std::path::PathBuf::from("one"), "another".into()]);
    client.finish().await;
}
