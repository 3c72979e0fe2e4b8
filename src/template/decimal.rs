//! Arithmetic on numbers as people write them: `0.1 + 0.2` is `0.3` (Shopify computes with decimals).

use super::value::{Problem, Val};

/// A number of the template language.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    Float(f64),
}

/// The four operations that need care.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Plus,
    Minus,
    Times,
}

impl Number {
    /// Reads a value as Liquid does: text by its leading digits, all else as 0.
    pub(crate) fn of(value: &Val<'_>) -> Number {
        match value {
            Val::Int(n) => Number::Int(*n),
            Val::Float(n) => Number::Float(*n),
            _ => value.as_str().map_or(Number::Int(0), leading),
        }
    }

    /// Reads a value that is a number or spells one.
    pub(crate) fn strictly(value: &Val<'_>) -> Option<Number> {
        match value {
            Val::Int(n) => Some(Number::Int(*n)),
            Val::Float(n) => Some(Number::Float(*n)),
            _ => {
                let text = value.as_str()?.trim();
                let float = || text.parse().ok().filter(|n: &f64| n.is_finite()).map(Number::Float);
                text.parse().ok().map(Number::Int).or_else(float)
            }
        }
    }

    pub(crate) fn float(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Float(n) => n,
        }
    }

    pub(crate) fn is_zero(self) -> bool {
        self.float() == 0.0
    }

    /// Computes exactly where 128 bits suffice, else as floats do.
    pub(crate) fn apply(self, operation: Operation, other: Number) -> Number {
        if let (Number::Int(a), Number::Int(b)) = (self, other) {
            let exact = match operation {
                Operation::Plus => a.checked_add(b),
                Operation::Minus => a.checked_sub(b),
                Operation::Times => a.checked_mul(b),
            };
            if let Some(n) = exact {
                return Number::Int(n);
            }
        }
        let (a, b) = (self.float(), other.float());
        let exact = Decimal::of(a).zip(Decimal::of(b)).and_then(|(a, b)| a.apply(operation, b));
        Number::Float(exact.unwrap_or(match operation {
            Operation::Plus => a + b,
            Operation::Minus => a - b,
            Operation::Times => a * b,
        }))
    }

    /// Divides; integers give an integer, rounded down. `other` is not zero.
    pub(crate) fn divide(self, other: Number) -> Number {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => floor_div(a, b).map_or(Number::Float(a as f64 / b as f64), Number::Int),
            _ => Number::Float(self.float() / other.float()),
        }
    }

    /// What remains, with the sign of `other`, which is not zero.
    pub(crate) fn modulo(self, other: Number) -> Number {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => {
                let remainder = a.checked_rem(b).unwrap_or(0);
                let is_opposite = remainder != 0 && (remainder < 0) != (b < 0);
                Number::Int(if is_opposite { remainder + b } else { remainder })
            }
            _ => {
                let (a, b) = (self.float(), other.float());
                let exact = Decimal::of(a).zip(Decimal::of(b)).and_then(|(a, b)| a.modulo(b));
                Number::Float(exact.unwrap_or_else(|| a - b * (a / b).floor()))
            }
        }
    }
}

impl From<Number> for Val<'_> {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(n) => Val::Int(n),
            Number::Float(n) => Val::Float(n),
        }
    }
}

/// Reads a value that must be a whole number.
pub(crate) fn whole(value: &Val<'_>) -> Result<i64, Problem> {
    match Number::strictly(value) {
        Some(Number::Int(n)) => Ok(n),
        Some(Number::Float(n)) => Ok(n as i64),
        None => Err(format!("`{}` is not a number", value.text(200).unwrap_or_default()).into()),
    }
}

fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    Some(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
}

fn leading(text: &str) -> Number {
    let text = text.trim();
    let sign = usize::from(text.starts_with(['-', '+']));
    let digits = |from: usize| text.bytes().skip(from).take_while(u8::is_ascii_digit).count();
    let whole = sign + digits(sign);
    if whole == sign {
        return Number::Int(0);
    }
    let fraction = if text[whole..].starts_with('.') { digits(whole + 1) } else { 0 };
    // Only a text that is a decimal throughout counts as one; `1.5 apples` is 1.
    if fraction > 0 && whole + 1 + fraction == text.len() {
        return Number::Float(text.parse().unwrap_or_default());
    }
    let prefix = text[..whole].trim_start_matches('+');
    prefix.parse().map_or_else(|_| Number::Float(prefix.parse().unwrap_or_default()), Number::Int)
}

/// `digits / 10^scale`.
#[derive(Clone, Copy)]
struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    /// The shortest decimal that reads back as `n`.
    fn of(n: f64) -> Option<Decimal> {
        if !n.is_finite() || n != 0.0 && !(1e-12..1e18).contains(&n.abs()) {
            return None;
        }
        let text = n.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits = [whole, fraction].concat().parse().ok()?;
        Some(Decimal { digits, scale: fraction.len() as u32 })
    }

    fn float(self) -> Option<f64> {
        let negative = if self.digits < 0 { "-" } else { "" };
        format!("{negative}{}e-{}", self.digits.unsigned_abs(), self.scale).parse().ok()
    }

    /// The digits of both at one scale.
    fn aligned(self, other: Decimal) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let at = |n: Decimal| n.digits.checked_mul(10i128.checked_pow(scale - n.scale)?);
        Some((at(self)?, at(other)?, scale))
    }

    fn apply(self, operation: Operation, other: Decimal) -> Option<f64> {
        let (a, b, scale) = self.aligned(other)?;
        let result = match operation {
            Operation::Plus => Decimal { digits: a.checked_add(b)?, scale },
            Operation::Minus => Decimal { digits: a.checked_sub(b)?, scale },
            Operation::Times => {
                Decimal { digits: self.digits.checked_mul(other.digits)?, scale: self.scale + other.scale }
            }
        };
        result.float()
    }

    fn modulo(self, other: Decimal) -> Option<f64> {
        let (a, b, scale) = self.aligned(other)?;
        let remainder = a.checked_rem(b)?;
        let is_opposite = remainder != 0 && (remainder < 0) != (b < 0);
        Decimal { digits: if is_opposite { remainder + b } else { remainder }, scale }.float()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_add_up_as_on_paper() {
        let f = Number::Float;
        assert_eq!(f(0.1).apply(Operation::Plus, f(0.2)), f(0.3));
        assert_eq!(f(183.357).apply(Operation::Times, Number::Int(12)), f(2200.284));
        assert_eq!(f(183.357).modulo(Number::Int(12)), f(3.357));
        assert_eq!(Number::Int(-7).divide(Number::Int(2)), Number::Int(-4));
        assert_eq!(Number::Int(-7).modulo(Number::Int(3)), Number::Int(2));
        assert_eq!(Number::Int(i64::MIN).divide(Number::Int(-1)), f(i64::MAX as f64));
    }

    #[test]
    fn text_counts_by_its_leading_digits() {
        for (text, number) in [
            ("3.5", Number::Float(3.5)),
            ("10 apples", Number::Int(10)),
            ("1.5 apples", Number::Int(1)),
            ("apples", Number::Int(0)),
            ("-4", Number::Int(-4)),
            ("", Number::Int(0)),
        ] {
            assert_eq!(Number::of(&Val::Str(text)), number, "{text}");
        }
    }
}
