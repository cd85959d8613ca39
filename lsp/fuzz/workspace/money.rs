//! Amounts of money, for sessions to use.

/// Whole cents. 漢𝄞
pub struct Money(pub i64);

impl Money {
    pub fn add(self, other: Money) -> Money {
        Money(self.0 + other.0)
    }
}

pub fn to_cents(amount: f64) -> Money {
    Money((amount * 100.0) as i64)
}
