//! What a run found out, as a table and as JSON.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::options::Common;
use crate::run::{Better, Figure, Outcome, Round};
use crate::target::Side;
use crate::watch::histogram;

/// A figure over all rounds of a side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) best: f64,
    pub(crate) median: f64,
}

/// What was run, and where.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) file_system: String,
    pub(crate) kernel: String,
    pub(crate) cores: usize,
}

impl Place {
    pub(crate) fn here(directory: &std::path::Path, cores: usize) -> Place {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        Place { file_system: crate::machine::file_system(directory), kernel, cores }
    }
}

/// The outcome as a table for people.
pub(crate) fn table(outcome: &Outcome, place: &Place, common: &Common) -> String {
    let mut rows = vec![heading(outcome)];
    for figure in figures(outcome) {
        rows.push(row(outcome, &figure));
    }
    let mut text = format!(
        "\n{}: {} rounds, {} cores, {}, database on {}, Linux {}\n\n",
        outcome.scenario,
        common.rounds,
        place.cores,
        if common.no_pin { "not pinned" } else { "pinned" },
        place.file_system,
        place.kernel
    );
    text.push_str(&aligned(&rows));
    text.push('\n');
    if outcome.sides.len() > 1 {
        text.push_str("ratio: bellwire's median over the bare program's, taken turn by turn in this run\n");
    }
    for (side, rounds) in &outcome.sides {
        let _ = writeln!(text, "{}", noise(*side, rounds));
    }
    for note in &outcome.notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// The outcome with every round, for programs.
pub(crate) fn json(outcome: &Outcome, place: &Place, common: &Common) -> Value {
    let sides: Vec<Value> = outcome.sides.iter().map(|(side, rounds)| side_json(outcome, *side, rounds)).collect();
    let ratios: Vec<Value> = figures(outcome)
        .iter()
        .filter_map(|figure| Some(json!({"figure": figure.name, "ratio": ratio(outcome, figure)?})))
        .collect();
    json!({
        "scenario": outcome.scenario,
        "place": {"cores": place.cores, "kernel": place.kernel, "file_system": place.file_system, "pinned": !common.no_pin},
        "sides": sides,
        "ratios_of_medians": ratios,
        "notes": outcome.notes,
    })
}

/// All rounds' latencies of a side together.
pub(crate) fn latency(rounds: &[Round]) -> Option<Histogram<u64>> {
    let mut all = histogram();
    for latency in rounds.iter().filter_map(|round| round.latency.as_ref()) {
        all.add(latency).ok()?;
    }
    (!all.is_empty()).then_some(all)
}

/// Best and median of a figure over a side's rounds.
pub(crate) fn summary(rounds: &[Round], figure: &Figure) -> Option<Summary> {
    let named = rounds.iter().flat_map(|round| &round.values).filter(|(other, _)| other == figure);
    let mut values: Vec<f64> = named.map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let (first, last) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
    Some(Summary { best: if figure.better == Better::Higher { last } else { first }, median })
}

/// Every figure, in the order it was first reported.
fn figures(outcome: &Outcome) -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    for (figure, _) in outcome.sides.iter().flat_map(|(_, rounds)| rounds).flat_map(|round| &round.values) {
        if !figures.contains(figure) {
            figures.push(figure.clone());
        }
    }
    figures
}

/// The server's median in terms of the bare program's.
fn ratio(outcome: &Outcome, figure: &Figure) -> Option<f64> {
    let of = |wanted| {
        let (_, rounds) = outcome.sides.iter().find(|(side, _)| *side == wanted)?;
        summary(rounds, figure).map(|summary| summary.median)
    };
    let bare = of(Side::Bare)?;
    (bare != 0.0).then_some(of(Side::Bellwire)? / bare)
}

fn heading(outcome: &Outcome) -> Vec<String> {
    let mut cells = vec!["figure".to_owned(), "unit".to_owned()];
    for (side, _) in &outcome.sides {
        cells.push(format!("{} best", side.name()));
        cells.push("median".to_owned());
    }
    cells.push("ratio".to_owned());
    cells
}

fn row(outcome: &Outcome, figure: &Figure) -> Vec<String> {
    let mut cells = vec![figure.name.clone(), figure.unit.to_owned()];
    for (_, rounds) in &outcome.sides {
        match summary(rounds, figure) {
            Some(Summary { best, median }) => cells.extend([number(best), number(median)]),
            None => cells.extend(["-".to_owned(), "-".to_owned()]),
        }
    }
    cells.push(ratio(outcome, figure).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")));
    cells
}

fn noise(side: Side, rounds: &[Round]) -> String {
    let each = |pick: fn(&Round) -> f64| {
        rounds.iter().map(|round| format!("{:.1}", pick(round))).collect::<Vec<_>>().join(", ")
    };
    let (steal, other) = (each(|round| round.noise.steal), each(|round| round.noise.other));
    format!("noise, {} by round, % of a core: steal {steal}; other processes {other}", side.name())
}

/// Columns side by side: words to the left, numbers to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column < 2 { write!(line, "{cell:<width$}  ") } else { write!(line, "{cell:>width$}  ") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number with as many digits as mean something.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => thousands(value),
        middle if middle >= 100.0 => format!("{value:.0}"),
        small if small >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn side_json(outcome: &Outcome, side: Side, rounds: &[Round]) -> Value {
    let summaries: Vec<Value> = figures(outcome)
        .iter()
        .filter_map(|figure| {
            let Summary { best, median } = summary(rounds, figure)?;
            Some(json!({"figure": figure.name, "unit": figure.unit, "best": best, "median": median}))
        })
        .collect();
    let rounds: Vec<Value> = rounds
        .iter()
        .map(|round| {
            let values: Vec<Value> = round
                .values
                .iter()
                .map(|(figure, value)| json!({"figure": figure.name, "unit": figure.unit, "value": value}))
                .collect();
            json!({"values": values, "steal_percent": round.noise.steal, "other_percent": round.noise.other})
        })
        .collect();
    json!({"name": side.name(), "summary": summaries, "rounds": rounds})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64], better: Better) -> (Vec<Round>, Figure) {
        let figure = Figure { name: "x".into(), unit: "/s", better };
        let rounds = values.iter().map(|value| Round { values: vec![(figure.clone(), *value)], ..Round::default() });
        (rounds.collect(), figure)
    }

    #[test]
    fn the_best_is_the_largest_rate_and_the_smallest_latency() {
        let (up, rate) = rounds(&[3.0, 1.0, 2.0], Better::Higher);
        assert_eq!(summary(&up, &rate), Some(Summary { best: 3.0, median: 2.0 }));
        let (down, latency) = rounds(&[4.0, 1.0, 2.0, 3.0], Better::Lower);
        assert_eq!(summary(&down, &latency), Some(Summary { best: 1.0, median: 2.5 }));
    }

    #[test]
    fn the_ratio_is_the_servers_median_over_the_bare_programs() {
        let ((server, figure), (bare, _)) = (rounds(&[2.0], Better::Higher), rounds(&[4.0], Better::Higher));
        let sides = vec![(Side::Bellwire, server), (Side::Bare, bare)];
        let outcome = Outcome { scenario: "x".into(), sides, notes: Vec::new() };
        assert_eq!(ratio(&outcome, &figure), Some(0.5));
    }

    #[test]
    fn numbers_carry_the_digits_that_mean_something() {
        assert_eq!(
            [number(1_234_567.8), number(999.6), number(12.34), number(0.126)],
            ["1,234,568", "1000", "12.3", "0.13"]
        );
    }
}
