//! Filters on numbers.

use std::cmp::Ordering;

use crate::template::{
    decimal::{Number, Operation},
    filters::{Args, Made},
    locale::Locale,
    run::Run,
    value::Val,
};

fn calculate<'r>(input: &Val<'r>, args: &Args<'r>, operation: Operation) -> Made<'r> {
    Ok(Number::of(input).apply(operation, Number::of(args.at(0))).into())
}

pub(super) fn plus<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    calculate(&input, args, Operation::Plus)
}

pub(super) fn minus<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    calculate(&input, args, Operation::Minus)
}

pub(super) fn times<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    calculate(&input, args, Operation::Times)
}

pub(super) fn divided_by<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let divisor = Number::of(args.at(0));
    match divisor.is_zero() {
        true => Err("a number cannot be divided by 0".into()),
        false => Ok(Number::of(&input).divide(divisor).into()),
    }
}

pub(super) fn modulo<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let divisor = Number::of(args.at(0));
    match divisor.is_zero() {
        true => Err("a number cannot be divided by 0".into()),
        false => Ok(Number::of(&input).modulo(divisor).into()),
    }
}

pub(super) fn abs<'r>(_: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    Ok(match Number::of(&input) {
        Number::Int(n) => n.checked_abs().map_or(Val::Float(-(n as f64)), Val::Int),
        Number::Float(n) => Val::Float(n.abs()),
    })
}

/// A float without a fraction as an integer, where one can hold it.
fn whole(n: f64) -> Val<'static> {
    match n.abs() < 9.0e18 {
        true => Val::Int(n as i64),
        false => Val::Float(n),
    }
}

fn rounded<'r>(input: &Val<'r>, round: fn(f64) -> f64) -> Made<'r> {
    Ok(match Number::of(input) {
        Number::Int(n) => Val::Int(n),
        Number::Float(n) => whole(round(n)),
    })
}

pub(super) fn ceil<'r>(_: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    rounded(&input, f64::ceil)
}

pub(super) fn floor<'r>(_: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    rounded(&input, f64::floor)
}

pub(super) fn round<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let digits = Number::of(args.at(0)).float() as i32;
    match Number::of(&input) {
        Number::Float(n) if digits > 0 => {
            let scale = 10f64.powi(digits.min(15));
            // `1.005` is less than it says; scaled by a decimal it is not.
            let scaled = Number::Float(n).apply(Operation::Times, Number::Float(scale)).float();
            Ok(Val::Float(if scaled.is_finite() { scaled.round() / scale } else { n }))
        }
        n if digits < 0 => {
            let scale = 10f64.powi(-digits.max(-20));
            Ok(whole((n.float() / scale).round() * scale))
        }
        _ => rounded(&input, f64::round),
    }
}

fn bounded<'r>(input: &Val<'r>, args: &Args<'r>, wins: Ordering) -> Made<'r> {
    let (n, bound) = (Number::of(input), Number::of(args.at(0)));
    Ok(if bound.float().partial_cmp(&n.float()) == Some(wins) { bound } else { n }.into())
}

pub(super) fn at_least<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    bounded(&input, args, Ordering::Greater)
}

pub(super) fn at_most<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    bounded(&input, args, Ordering::Less)
}

fn locale(args: &Args<'_>, at: usize) -> Locale {
    Locale::of(args.at(at).as_str().unwrap_or("en"))
}

/// A number as a language writes it; what is no number stays (D-TPL-15, D-AMB-22).
pub(super) fn format_number<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    Ok(match Number::strictly(&input) {
        Some(n) if n.float().abs() < 1e18 => Val::from(locale(args, 0).number(n.float())),
        _ => input,
    })
}

fn amount<'r>(input: Val<'r>, args: &Args<'r>, is_rounded: bool) -> Made<'r> {
    let code = args.at(0).as_str().filter(|code| !code.is_empty()).unwrap_or("USD");
    Ok(match Number::strictly(&input) {
        Some(n) if n.float().abs() < 1e18 => Val::from(locale(args, 1).currency(n.float(), code, is_rounded)),
        _ => input,
    })
}

pub(super) fn currency<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    amount(input, args, false)
}

pub(super) fn rounded_currency<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    amount(input, args, true)
}

/// -1, 0 or 1 by semantic versioning (D-TPL-18); what is no version stays as it is (D-AMB-22).
pub(super) fn compare_versions<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let order = {
        let (left, right) = (input.text(run.value_limit())?, args.at(0).text(run.value_limit())?);
        Version::parse(&left).zip(Version::parse(&right)).map(|(left, right)| left.order(&right))
    };
    Ok(order.map_or(input, |order| Val::Int(order as i64)))
}

/// A version: numbers, and the parts of a pre-release.
struct Version<'v> {
    numbers: [u64; 3],
    pre: Vec<&'v str>,
}

impl<'v> Version<'v> {
    /// Reads `1.2.3-rc.1+build`; a leading `v` and missing numbers are forgiven.
    fn parse(text: &'v str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _build)| version);
        let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        let mut numbers = [0; 3];
        for (at, part) in core.split('.').enumerate() {
            *numbers.get_mut(at)? = part.parse().ok()?;
        }
        Some(Version { numbers, pre: pre.map(|pre| pre.split('.').collect()).unwrap_or_default() })
    }

    fn order(&self, other: &Version<'_>) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            // A release comes after its pre-releases.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self.pre_order(other),
        })
    }

    fn pre_order(&self, other: &Version<'_>) -> Ordering {
        let parts = self.pre.iter().zip(&other.pre).map(|(a, b)| match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            _ => a.cmp(b),
        });
        parts.fold(Ordering::Equal, Ordering::then).then(self.pre.len().cmp(&other.pre.len()))
    }
}
