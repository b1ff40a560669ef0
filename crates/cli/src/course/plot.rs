//! Line charts as SVG: axes with round numbers, a title, units, and colours that colour-blind readers can tell apart.

use std::fmt::Write;

/// Colours of Okabe and Ito (2008), <https://jfly.uni-koeln.de/color/>, each with dashes of its own.
const STROKES: [(&str, &str); 4] =
    [("#0072b2", ""), ("#d55e00", "7 3"), ("#009e73", "2 3"), ("#cc79a7", "9 3 2 3")];
/// Pixels: the whole, and what surrounds the field of the lines.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 36.0;
/// More points than pixels show nothing: neighbours are averaged.
const POINTS: usize = 240;

/// A line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub label: String,
    /// Step and number, in the order of the steps.
    pub points: Vec<(f64, f64)>,
}

/// Draws the series over the steps, in one chart.
pub fn svg(title: &str, unit: &str, series: &[Series]) -> String {
    let all = || series.iter().flat_map(|line| &line.points);
    let steps = all().map(|point| point.0).fold(1.0, f64::max);
    let (low, high) = all().fold((f64::MAX, f64::MIN), |(low, high), &(_, y)| (low.min(y), high.max(y)));
    let ticks = ticks(low, high);
    let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
    let x = |step: f64| LEFT + step / steps * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#333\">\n<title>{0}, {1}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\" font-weight=\"bold\">{0} <tspan font-weight=\"normal\">({1})</tspan></text>\n",
        escaped(title),
        escaped(unit)
    );
    let mut draw = |line: std::fmt::Arguments<'_>| out.write_fmt(line).expect("a string takes all");
    for &tick in &ticks {
        let (at, right) = (y(tick), WIDTH - RIGHT);
        draw(format_args!("<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>\n"));
        let number = short(tick, ticks[1] - ticks[0]);
        draw(format_args!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{number}</text>\n",
            LEFT - 6.0,
            at + 4.0
        ));
    }
    for quarter in 0..=4 {
        let step = (steps * quarter as f64 / 4.0).round();
        let at = x(step);
        draw(format_args!(
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{step}</text>\n",
            HEIGHT - 18.0
        ));
    }
    draw(format_args!(
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">step</text>\n",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 4.0
    ));
    let mut legend = LEFT;
    for (line, (colour, dashes)) in series.iter().zip(STROKES.iter().cycle()) {
        let points: Vec<String> = thinned(&line.points)
            .iter()
            .map(|&(step, value)| format!("{:.1},{:.1}", x(step), y(value)))
            .collect();
        let style =
            format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-dasharray=\"{dashes}\"");
        draw(format_args!("<polyline {style} points=\"{}\"/>\n", points.join(" ")));
        draw(format_args!("<path {style} d=\"M{legend:.0} 36h24\"/>\n"));
        draw(format_args!("<text x=\"{:.0}\" y=\"40\">{}</text>\n", legend + 30.0, escaped(&line.label)));
        legend += 50.0 + 6.5 * line.label.len() as f64;
    }
    draw(format_args!("</svg>\n"));
    out
}

/// Four to eight round numbers, a step of 1, 2 or 5 times a power of ten apart, that span what there is to show.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let (low, high) = match low.is_finite() && high.is_finite() && high >= low {
        true if high > low => (low, high),
        // A line that does not move lies in the middle.
        true => (low - 0.5, high + 0.5),
        false => (0.0, 1.0),
    };
    let power = 10f64.powf(((high - low) / 4.0).log10().floor());
    let fits = |factor: &f64| (high - low) / (factor * power) <= 6.0;
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(fits).unwrap_or(10.0) * power;
    let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A number with as many digits as its axis needs.
fn short(number: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{number:.digits$}")
}

/// Means of neighbours, so that no more than [`POINTS`] are left.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |chunk: &[(f64, f64)]| {
        let n = chunk.len() as f64;
        (chunk.iter().map(|p| p.0).sum::<f64>() / n, chunk.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(points.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!(ticks(0.03, 0.97), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(1.3, 6.9), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(
            ticks(-4.0, -4.0),
            [-4.6, -4.4, -4.2, -4.0, -3.8, -3.6, -3.4].map(|x: f64| (x * 5.0).round() * 0.2)
        );
        assert_eq!(ticks(f64::MAX, f64::MIN).first(), Some(&0.0));
        assert_eq!((short(0.6000000000000001, 0.2), short(40.0, 20.0)), ("0.6".into(), "40".into()));
    }

    #[test]
    fn a_chart_shows_every_line_within_its_field() {
        let line = |label: &str, n: usize| Series {
            label: label.into(),
            points: (0..n).map(|step| (step as f64, (step as f64).sin())).collect(),
        };
        let drawn = svg("Loss <of all>", "nats & more", &[line("one", 1000), line("two", 3)]);
        assert_eq!(drawn.matches("<polyline").count(), 2);
        assert!(drawn.contains("Loss &lt;of all>") && drawn.contains("nats &amp; more"));
        let points = drawn.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(points.split(' ').count() <= POINTS);
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{point}");
        }
    }
}
