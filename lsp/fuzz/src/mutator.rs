//! Changes sessions where it matters: whole messages, and the values inside them.

use serde_json::{Number, Value, json};

/// Numbers at the edges of what the protocol can say.
const NUMBERS: [i64; 8] = [-1, 0, 1, 7, 2_147_483_647, 4_294_967_295, i64::MAX, i64::MIN];

/// A small generator: a mutation must follow from its seed alone.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % n.max(1) as u64) as usize
    }
}

/// Another session made from `data`; `None` leaves it to the mutations of bytes.
pub fn mutate(data: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut dice = Dice(seed.into());
    let (kind, rest) = data.split_first()?;
    if *kind == b'r' || dice.below(4) == 0 {
        return None;
    }
    let mut lines: Vec<Vec<u8>> = rest.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let at = dice.below(lines.len());
    match dice.below(12) {
        0 if lines.len() > 1 => drop(lines.remove(at)),
        1 => {
            let line = lines[at].clone();
            lines.insert(dice.below(lines.len() + 1), line);
        }
        2 => {
            let other = dice.below(lines.len());
            lines.swap(at, other);
        }
        3 => lines.insert(at, b"@".to_vec()),
        _ => {
            let mut message: Value = serde_json::from_slice(&lines[at]).ok()?;
            let donor = &lines[dice.below(lines.len())];
            let donor: Value = serde_json::from_slice(donor).unwrap_or_default();
            for _ in 0..=dice.below(3) {
                change(&mut message, &donor, &mut dice);
            }
            lines[at] = message.to_string().into_bytes();
        }
    }
    Some([&[*kind][..], &lines.join(&b'\n')].concat())
}

/// Changes one value inside `message`.
fn change(message: &mut Value, donor: &Value, dice: &mut Dice) {
    let mut paths = Vec::new();
    list("", message, &mut paths);
    let path = paths.swap_remove(dice.below(paths.len()));
    let Some(value) = message.pointer_mut(&path) else { return };
    *value = match (dice.below(10), &*value) {
        (0, _) => Value::Null,
        (1, _) => [json!([]), json!({}), json!(true), json!(""), json!(0.5)][dice.below(5)].take(),
        (2, Value::Object(members)) => {
            let mut members = members.clone();
            let names: Vec<String> = members.keys().cloned().collect();
            if let Some(name) = names.get(dice.below(names.len())) {
                members.remove(name);
            }
            Value::Object(members)
        }
        (2 | 3, Value::Array(items)) => {
            let mut items = items.clone();
            let copy = items.get(dice.below(items.len())).cloned();
            items.extend(copy);
            Value::Array(items)
        }
        (4..=6, Value::Number(_)) => json!(dice.below(24)),
        (7, Value::Number(number)) => {
            let near = number.as_i64().unwrap_or_default().wrapping_add(dice.below(3) as i64 - 1);
            Value::Number(Number::from(near))
        }
        (8, _) => json!(NUMBERS[dice.below(NUMBERS.len())]),
        _ => {
            let mut places = Vec::new();
            list("", donor, &mut places);
            donor.pointer(&places[dice.below(places.len())]).cloned().unwrap_or_default()
        }
    };
}

/// Pointers to `value` and all values in it.
fn list(path: &str, value: &Value, paths: &mut Vec<String>) {
    paths.push(path.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                list(&format!("{path}/{name}"), member, paths);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                list(&format!("{path}/{index}"), item, paths);
            }
        }
        _ => {}
    }
}
