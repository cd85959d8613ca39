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

/// Where a legend may stand, as columns and rows of three; the usual place first.
const PLACES: [((usize, usize), SeriesLabelPosition); 9] = [
    ((2, 1), SeriesLabelPosition::MiddleRight),
    ((2, 0), SeriesLabelPosition::UpperRight),
    ((2, 2), SeriesLabelPosition::LowerRight),
    ((0, 2), SeriesLabelPosition::LowerLeft),
    ((0, 0), SeriesLabelPosition::UpperLeft),
    ((1, 2), SeriesLabelPosition::LowerMiddle),
    ((1, 0), SeriesLabelPosition::UpperMiddle),
    ((0, 1), SeriesLabelPosition::MiddleLeft),
    ((1, 1), SeriesLabelPosition::MiddleMiddle),
];
/// The share of the chart that a legend covers, across and down.
const LEGEND: (f64, f64) = (0.46, 0.36);

/// The place of the legend that covers the fewest points.
fn legend_place(
    points: &[(f64, f64)],
    (across, up): (Range<f64>, Range<f64>),
) -> SeriesLabelPosition {
    let covers = |(column, row): (usize, usize)| {
        let starts = |at: usize, size: f64| at as f64 / 2.0 * (1.0 - size);
        let (left, top) = (starts(column, LEGEND.0), starts(row, LEGEND.1));
        let is_under = |&&(x, y): &&(f64, f64)| {
            let from_left = (x - across.start) / (across.end - across.start);
            let from_top = (up.end - y) / (up.end - up.start);
            (left..left + LEGEND.0).contains(&from_left)
                && (top..top + LEGEND.1).contains(&from_top)
        };
        points.iter().filter(is_under).count()
    };
    let best = PLACES.into_iter().min_by_key(|(place, _)| covers(*place));
    best.map_or(SeriesLabelPosition::MiddleRight, |(_, position)| position)
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
        let points: Vec<(f64, f64)> =
            series.iter().flat_map(|series| series.points.iter().copied()).collect();
        let (across, up) = (range(points.iter().map(|p| p.0)), range(points.iter().map(|p| p.1)));
        let mut chart = ChartBuilder::on(&area)
            .caption(labels.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(52)
            .build_cartesian_2d(across.clone(), up.clone())
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
            .position(legend_place(&points, (across, up)))
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
    fn the_legend_stands_where_no_points_are() {
        let place = |points: &[(f64, f64)]| {
            let place = legend_place(points, (0.0..1.0, 0.0..1.0));
            format!("{place:?}")
        };
        assert_eq!(place(&[]), "MiddleRight");
        let right = [(0.9, 0.5), (0.9, 0.9), (0.9, 0.1)];
        assert_eq!(place(&right[..1]), "UpperRight");
        assert_eq!(place(&right[..2]), "LowerRight");
        assert_eq!(place(&right), "LowerLeft");
    }

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
