//! `diffcoder/score`: places of tokens, alternatives, versions, bad parameters.

use serde_json::{Value, json};

use crate::harness::{CONTENT_MODIFIED, Client, INTERNAL_ERROR, INVALID_PARAMS, URI, code, range};
use crate::script::{Act, Script};

const METHOD: &str = "diffcoder/score";

fn params(range: Value) -> Value {
    json!({ "textDocument": { "uri": URI, "version": 1 }, "range": range, "alternatives": 1 })
}

#[tokio::test]
async fn tokens_have_their_places_in_the_document_whatever_its_line_ends() {
    let script = Script::always(Act::Fill(""));
    let mut client = Client::start(&script).await;
    client.open(URI, "x = 🙏;\r\ny = 1;\r\n").await;
    let result = client.call(METHOD, params(range((0, 4), (1, 1)))).await.unwrap();
    assert_eq!(result["version"], 1);
    let places = [((0, 4), (0, 6)), ((0, 6), (0, 7)), ((0, 7), (1, 0)), ((1, 0), (1, 1))];
    for (index, (start, end)) in places.into_iter().enumerate() {
        let token = &result["tokens"][index];
        assert_eq!(token["range"], range(start, end));
        assert_eq!(token["logProbability"].as_f64().unwrap().abs(), index as f64);
        assert_eq!(token["alternatives"], json!([{ "text": "0", "probability": 0.5 }]));
    }
    let asked = &script.asked()[0];
    assert_eq!((asked.before.as_str(), asked.after.as_str()), ("x = ", " = 1;\n"));
    assert_eq!(asked.drafts, ["🙏;\ny"]);
    client.finish().await;
}

#[tokio::test]
async fn wrong_versions_parameters_and_panics_are_answered() {
    let script = Script::always(Act::Panic("no score today"));
    let mut client = Client::start(&script).await;
    client.open(URI, "x = 1;\n").await;
    let mut late = params(range((0, 0), (0, 1)));
    late["textDocument"]["version"] = json!(2);
    assert_eq!(code(&client.call(METHOD, late).await), CONTENT_MODIFIED);
    let mut greedy = params(range((0, 0), (0, 1)));
    greedy["alternatives"] = json!(17);
    assert_eq!(code(&client.call(METHOD, greedy).await), INVALID_PARAMS);
    let panicked = client.call(METHOD, params(range((0, 0), (0, 1)))).await;
    assert_eq!(code(&panicked), INTERNAL_ERROR);
    client.finish().await;
}
