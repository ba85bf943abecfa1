//! Money in whole nano-dollars, so that sums are exact whatever their order. It does not know what is paid for. One
//! decision: what is charged is rounded up to the next nano-dollar, so a budget is never passed by rounding.

use std::fmt;

/// An amount of US dollars, at least 0, up to 18 thousand million of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Money(pub u64);

/// Nano-dollars in a dollar.
const NANOS: f64 = 1e9;

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);

    /// Of a number of dollars as people and programs write it, to the nearest nano-dollar. `None` for what is no
    /// amount: negative, not finite, too large.
    pub fn from_usd(usd: f64) -> Option<Money> {
        let nanos = (usd * NANOS).round();
        (nanos >= 0.0 && nanos < u64::MAX as f64).then_some(Money(nanos as u64))
    }

    /// In dollars; the nearest binary fraction.
    pub fn usd(self) -> f64 {
        self.0 as f64 / NANOS
    }

    /// So many tokens at a price per million, rounded up. `None` when it is too large.
    pub fn of_tokens(tokens: u64, per_mtok: Money) -> Option<Money> {
        let product = u128::from(tokens) * u128::from(per_mtok.0);
        u64::try_from(product.div_ceil(1_000_000)).ok().map(Money)
    }

    /// The sum, at most the largest amount.
    #[must_use]
    pub fn saturating_add(self, other: Money) -> Money {
        Money(self.0.saturating_add(other.0))
    }

    /// The difference, at least nothing.
    #[must_use]
    pub fn saturating_sub(self, other: Money) -> Money {
        Money(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Money {
    /// `$1,665.00`, `$0.015`, `$0.028338`: cents at least, and no digit that says nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let digits = whole.to_string();
        let mut grouped = String::with_capacity(digits.len() + 6);
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        let fraction = format!("{nanos:09}");
        let used = fraction.trim_end_matches('0').len().max(2);
        write!(f, "${grouped}.{}", &fraction[..used])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_shown_as_people_write_them() {
        let price = Money::from_usd(3.0).expect("an amount");
        assert_eq!(Money::of_tokens(185_000, price), Some(Money(555_000_000)));
        assert_eq!(Money::of_tokens(1, Money(1)), Some(Money(1)), "rounded up");
        let shown = |usd: f64| Money::from_usd(usd).expect("an amount").to_string();
        assert_eq!(shown(1665.0), "$1,665.00");
        assert_eq!(shown(0.555), "$0.555");
        assert_eq!(shown(0.028338), "$0.028338");
        assert_eq!(Money::from_usd(0.1 + 0.2), Money::from_usd(0.3));
        for bad in [-0.01, f64::NAN, f64::INFINITY, 1e30] {
            assert_eq!(Money::from_usd(bad), None, "{bad}");
        }
    }
}
