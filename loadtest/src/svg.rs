//! The latency histogram as a picture: a logarithmic axis of time, one row of bars per side, percentiles marked.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Sizes in pixels.
const WIDTH: f64 = 960.0;
const PANEL: f64 = 240.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 64.0;
const GAP: f64 = 70.0;
/// Bars to each power of ten.
const BARS_PER_DECADE: f64 = 24.0;
const MEASURED: &str = "#2563a8";
const BARE: &str = "#737983";
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// One row of the picture.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Drawn in grey: what the machine allows.
    pub(crate) is_bare: bool,
    /// In microseconds.
    pub(crate) latency: Histogram<u64>,
}

/// The axis that all rows share: whole powers of ten, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    from: f64,
    to: f64,
}

/// Draws the rows below one another, on one axis.
pub(crate) fn draw(title: &str, series: &[Series]) -> String {
    let axis = Axis::over(series);
    let height = TOP + series.len() as f64 * (PANEL + GAP);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13" fill="#1c1f24">
<title>{title}</title>
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="{LEFT}" y="32" font-size="18" font-weight="600">{title}</text>
"##,
        title = escaped(title)
    );
    for (place, one) in series.iter().enumerate() {
        let top = TOP + place as f64 * (PANEL + GAP);
        panel(&mut svg, one, axis, top, if one.is_bare { BARE } else { MEASURED });
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, series: &Series, axis: Axis, top: f64, colour: &str) {
    let bottom = top + PANEL;
    grid(svg, axis, top, bottom);
    let (bars, highest) = bars(&series.latency, axis);
    let width = (WIDTH - LEFT - RIGHT) / bars.len() as f64;
    // The percentiles' labels stand above the bars.
    let room = PANEL - 56.0;
    for (place, share) in bars.iter().enumerate().filter(|(_, share)| **share > 0.0) {
        let (x, tall) = (LEFT + place as f64 * width, (share / highest * room).max(1.0));
        let (y, width) = (bottom - tall, (width - 1.0).max(1.0));
        let _ = writeln!(svg, r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{tall:.1}" fill="{colour}"/>"#);
    }
    let _ = writeln!(
        svg,
        r##"<text x="{LEFT}" y="{:.1}" font-weight="600" fill="{colour}">{} <tspan font-weight="400" fill="#5b616b">{} samples</tspan></text>
<text x="{:.1}" y="{:.1}" text-anchor="end" fill="#5b616b">{:.1} %</text>"##,
        top - 6.0,
        escaped(&series.name),
        series.latency.len(),
        LEFT - 8.0,
        bottom - room + 5.0,
        highest * 100.0,
    );
    for (row, (label, quantile)) in PERCENTILES.iter().enumerate() {
        percentile(svg, axis, label, series.latency.value_at_quantile(*quantile), top, bottom, row);
    }
}

/// The axis below and a line at each power of ten.
fn grid(svg: &mut String, axis: Axis, top: f64, bottom: f64) {
    let mut at = axis.from;
    while at <= axis.to * 1.001 {
        let x = axis.x(at);
        let _ = writeln!(
            svg,
            r##"<line x1="{x:.1}" y1="{top:.1}" x2="{x:.1}" y2="{bottom:.1}" stroke="#e3e6ea"/>
<text x="{x:.1}" y="{:.1}" text-anchor="middle" fill="#5b616b">{}</text>"##,
            bottom + 18.0,
            time(at)
        );
        at *= 10.0;
    }
    let _ = writeln!(
        svg,
        r##"<line x1="{LEFT}" y1="{bottom:.1}" x2="{:.1}" y2="{bottom:.1}" stroke="#5b616b"/>"##,
        WIDTH - RIGHT
    );
}

fn percentile(svg: &mut String, axis: Axis, label: &str, micros: u64, top: f64, bottom: f64, row: usize) {
    let (x, y) = (axis.x(micros as f64), top + 14.0 + row as f64 * 17.0);
    // Near the right edge the label stands to the left of its line.
    let (anchor, text) = if x > WIDTH - 170.0 { ("end", x - 5.0) } else { ("start", x + 5.0) };
    let _ = writeln!(
        svg,
        r##"<line x1="{x:.1}" y1="{:.1}" x2="{x:.1}" y2="{bottom:.1}" stroke="#1c1f24" stroke-dasharray="4 3"/>
<text x="{text:.1}" y="{y:.1}" text-anchor="{anchor}">{label} {}</text>"##,
        y - 10.0,
        time(micros as f64)
    );
}

/// Each bar's share of the samples, and the largest.
fn bars(latency: &Histogram<u64>, axis: Axis) -> (Vec<f64>, f64) {
    let count = ((axis.to / axis.from).log10() * BARS_PER_DECADE).round().max(1.0) as usize;
    let mut bars = vec![0.0; count];
    for step in latency.iter_recorded() {
        let place = (axis.place(step.value_iterated_to() as f64) * count as f64) as usize;
        bars[place.min(count - 1)] += step.count_at_value() as f64 / latency.len() as f64;
    }
    let highest = bars.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    (bars, highest)
}

impl Axis {
    /// The powers of ten around every sample.
    fn over(series: &[Series]) -> Axis {
        let filled = || series.iter().map(|one| &one.latency).filter(|latency| !latency.is_empty());
        let least = filled().map(Histogram::min).min().unwrap_or(1).max(1) as f64;
        let most = filled().map(Histogram::max).max().unwrap_or(10).max(1) as f64;
        let from = 10_f64.powf(least.log10().floor());
        Axis { from, to: 10_f64.powf(most.log10().ceil()).max(from * 10.0) }
    }

    /// Where a time lies, from 0 to 1.
    fn place(self, micros: f64) -> f64 {
        ((micros.max(self.from) / self.from).log10() / (self.to / self.from).log10()).clamp(0.0, 1.0)
    }

    fn x(self, micros: f64) -> f64 {
        LEFT + self.place(micros) * (WIDTH - LEFT - RIGHT)
    }
}

fn time(micros: f64) -> String {
    let (value, unit) = match micros {
        small if small < 1_000.0 => (micros, "µs"),
        middle if middle < 1_000_000.0 => (micros / 1_000.0, "ms"),
        _ => (micros / 1_000_000.0, "s"),
    };
    let digits = if value >= 100.0 || (value - value.round()).abs() < 1e-9 { 0 } else { 2 };
    format!("{value:.digits$} {unit}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::histogram;

    fn series(micros: &[u64]) -> Series {
        let mut latency = histogram();
        for value in micros {
            latency.record(*value).expect("in bounds");
        }
        Series { name: "bellwire <push>".into(), is_bare: false, latency }
    }

    #[test]
    fn the_axis_spans_whole_powers_of_ten() {
        let axis = Axis::over(&[series(&[250, 12_000])]);
        assert!((axis.from - 100.0).abs() < 1e-6 && (axis.to - 100_000.0).abs() < 1e-6, "{axis:?}");
    }

    #[test]
    fn bars_share_out_every_sample() {
        let one = series(&[100, 150, 1_000, 99_999]);
        let (bars, _) = bars(&one.latency, Axis::over(std::slice::from_ref(&one)));
        assert!((bars.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_picture_names_its_percentiles_and_escapes_its_text() {
        let svg = draw("push & co", &[series(&[500; 100])]);
        assert!(svg.contains("p99.9 500 µs"), "{svg}");
        assert!(svg.contains("push &amp; co") && svg.contains("bellwire &lt;push&gt;"));
    }

    #[test]
    fn no_samples_draw_an_empty_picture() {
        assert!(draw("nothing", &[]).ends_with("</svg>\n"));
    }
}
