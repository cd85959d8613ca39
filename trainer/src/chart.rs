//! Line charts as SVG text.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

const SIZE: (u32, u32) = (800, 400);
/// One colour per line, told apart by people who do not see red and green alike; then they repeat.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
];

/// What stands around the lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels<'a> {
    /// Above the chart.
    pub title: &'a str,
    /// Below the horizontal axis.
    pub x: &'a str,
    /// Left of the vertical axis.
    pub y: &'a str,
    /// Digits behind the decimal point of the numbers along the horizontal axis.
    pub x_decimals: usize,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Points (x, y) in the order of the line.
    pub points: Vec<(f64, f64)>,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// A line alone: its points are too many to tell apart.
    Plain,
    /// Each point is marked.
    Marked,
}

/// The smallest range that holds `values`, a little wider; never empty.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if !(low.is_finite() && high.is_finite()) {
        return 0.0..1.0;
    }
    let margin = ((high - low) * 0.04).max(1e-6 * high.abs().max(1.0));
    low - margin..high + margin
}

/// Draws `series` into one chart.
pub(crate) fn render(labels: Labels<'_>, series: &[Series], style: Style) -> Result<String> {
    draw(labels, series, style)
        .map_err(|error| anyhow!("cannot draw \"{}\": {error}", labels.title))
}

fn draw(
    labels: Labels<'_>,
    series: &[Series],
    style: Style,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || series.iter().flat_map(|series| &series.points);
        let mut chart = ChartBuilder::on(&area)
            .caption(labels.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(52)
            .build_cartesian_2d(range(points().map(|p| p.0)), range(points().map(|p| p.1)))
            .map_err(|error| error.to_string())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(225, 225, 225))
            .x_desc(labels.x)
            .y_desc(labels.y)
            .x_label_formatter(&|x| format!("{x:.*}", labels.x_decimals))
            .draw()
            .map_err(|error| error.to_string())?;
        for (series, colour) in series.iter().zip(COLOURS.iter().cycle()) {
            chart
                .draw_series(LineSeries::new(series.points.iter().copied(), colour.stroke_width(2)))
                .map_err(|error| error.to_string())?
                .label(&series.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3))
                });
            if style == Style::Marked {
                let marks = series.points.iter().map(|&at| Circle::new(at, 4, colour.filled()));
                chart.draw_series(marks).map_err(|error| error.to_string())?;
            }
        }
        chart
            .configure_series_labels()
            .background_style(WHITE)
            .border_style(RGBColor(200, 200, 200))
            .draw()
            .map_err(|error| error.to_string())?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_marked_where_they_are_asked_for_and_nothing_is_an_empty_chart() {
        let series = [Series { name: "a line".into(), points: vec![(1.0, 2.0), (1.5, 3.0)] }];
        let labels = Labels { title: "a title", x: "speed", y: "worth", x_decimals: 1 };
        let marked = render(labels, &series, Style::Marked).unwrap();
        assert_eq!(marked.matches("<circle").count(), 2);
        for word in ["a line", "a title", "speed", "worth"] {
            assert!(marked.contains(word), "{word}");
        }
        assert_eq!(render(labels, &series, Style::Plain).unwrap().matches("<circle").count(), 0);
        assert!(render(labels, &[], Style::Marked).unwrap().starts_with("<svg"));
    }
}
