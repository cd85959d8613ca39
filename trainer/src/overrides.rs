//! `--set KEY=VALUE`: single values of a recipe changed from the command line, for sweeps.

use toml::{Table, Value};

/// The text of a recipe with `sets` put in, each `section.key=value`, in order.
///
/// `stage.N.key` changes the stage of that number, from 1; `stage.key` all stages. A value is TOML, or else a string.
/// Whether a key exists and a value fits is checked when the text is read as a recipe. Fails with one sentence.
pub(crate) fn apply(text: &str, sets: &[String]) -> Result<String, String> {
    let mut recipe: Table = text.parse().map_err(|error: toml::de::Error| {
        format!("the recipe is no TOML: {}", error.message().replace('\n', " "))
    })?;
    for set in sets {
        put(&mut recipe, set).map_err(|reason| format!("--set {set}: {reason}"))?;
    }
    toml::to_string(&recipe).map_err(|error| format!("the recipe cannot be written: {error}"))
}

fn put(recipe: &mut Table, set: &str) -> Result<(), String> {
    let (key, value) =
        set.split_once('=').ok_or("write section.key=value, such as optimizer.lr=1e-3")?;
    let value = value_of(value.trim());
    let parts: Vec<&str> = key.trim().split('.').collect();
    match parts[..] {
        ["stage", number, key] => {
            let stages = stages(recipe)?;
            let n_stages = stages.len();
            let index = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            let stage = index.and_then(|index| stages.get_mut(index)).ok_or_else(|| {
                format!("there is no stage {number}: the recipe has stages 1 to {n_stages}")
            })?;
            insert(stage, key, value)
        }
        ["stage", key] => {
            stages(recipe)?.iter_mut().try_for_each(|stage| insert(stage, key, value.clone()))
        }
        [section, key] => {
            let section = recipe.entry(section).or_insert_with(|| Value::Table(Table::new()));
            insert(section, key, value)
        }
        _ => Err("write section.key=value, such as optimizer.lr=1e-3".to_owned()),
    }
}

fn stages(recipe: &mut Table) -> Result<&mut Vec<Value>, String> {
    recipe
        .get_mut("stage")
        .and_then(Value::as_array_mut)
        .ok_or_else(|| "the recipe has no [[stage]]".to_owned())
}

fn insert(table: &mut Value, key: &str, value: Value) -> Result<(), String> {
    let table = table.as_table_mut().ok_or("it names a value, not a section")?;
    table.insert(key.to_owned(), value);
    Ok(())
}

/// `text` as TOML would read it behind `=`; what it cannot read is a string.
fn value_of(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok();
    let value = parsed.and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{OptimizerKind, Recipe};

    const NANO: &str = include_str!("../recipes/nano.toml");

    fn with(sets: &[&str]) -> Result<Recipe, String> {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        let text = apply(NANO, &sets)?;
        Recipe::parse(&text, Path::new("nano.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_set_is_the_same_recipe() {
        assert_eq!(with(&[]).unwrap(), Recipe::parse(NANO, Path::new("nano.toml")).unwrap());
    }

    #[test]
    fn values_of_sections_one_stage_and_all_stages() {
        let recipe = with(&[
            "optimizer.lr=1e-3",
            "optimizer.kind=muon",
            "stage.infill_rate = 0.5",
            "stage.2.steps=77",
            "checkpoint.keep=9",
            "run.name=\"a b\"",
        ])
        .unwrap();
        assert_eq!((recipe.optimizer.lr, recipe.optimizer.kind), (1e-3, OptimizerKind::Muon));
        assert!(recipe.stages.iter().all(|stage| stage.infill_rate == 0.5));
        assert_eq!((recipe.stages[0].steps, recipe.stages[1].steps), (5300, 77));
        assert_eq!((recipe.checkpoint.keep, &recipe.run.name[..]), (9, "a b"));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        for (set, said) in [
            ("optimizer.lr", "write section.key=value"),
            ("lr=1", "write section.key=value"),
            ("stage.9.steps=1", "stages 1 to 4"),
            ("stage.0.steps=1", "stages 1 to 4"),
            ("optimizer.learning_rate=1", "unknown field"),
            ("optimizer.lr=fast", "invalid type"),
            ("optimizer.lr.x=1", "write section.key=value"),
        ] {
            let error = with(&[set]).unwrap_err();
            assert!(error.contains(said), "{set}: {error}");
        }
    }
}
