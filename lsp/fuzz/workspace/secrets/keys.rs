//! In a folder of secrets: no model may be shown this.

pub fn sort() -> &'static str {
    "no model may be shown this"
}
