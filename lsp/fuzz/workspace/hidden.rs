//! Named by .diffcoderignore: no model may be shown this.

pub fn add() -> &'static str {
    "no model may be shown this"
}
