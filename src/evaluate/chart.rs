//! Small charts as SVG files: curves and clouds of dots with axes and a legend. Legible
//! on light and dark pages.

use std::fmt::Write as _;

/// Size of the picture and of the frame around the plot, pixels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
/// Colours that stay apart for most kinds of colour vision (Okabe and Ito).
const COLORS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999"];
/// Dashes of the series that come when all colours are taken, by how often they were.
const DASHES: [&str; 3] = ["", "8 3", "2 3"];
/// Height of a line of the legend, pixels.
const LEGEND_LINE: f64 = 18.0;
/// Grid lines per axis, about.
const TICKS: f64 = 5.0;

/// How points are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Joined by a line; a lone one is a dot.
    Line,
    /// Joined by a line, with a dot each: few measurements, which the line only connects.
    LineAndDots,
    /// Joined by a dashed line: something to compare with.
    Dashed,
    /// Each by itself.
    Dots,
}

/// Points that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Shown in the legend.
    pub name: String,
    /// How they are drawn.
    pub mark: Mark,
    /// (x, y); points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Above the plot.
    pub title: String,
    /// Below the horizontal axis, with the unit.
    pub x: String,
    /// Beside the vertical axis, with the unit.
    pub y: String,
    /// What is shown. One without points keeps its colour and is named nowhere: what several charts
    /// show looks alike in all.
    pub series: Vec<Series>,
}

/// Range of an axis with round ticks.
#[derive(Debug, Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// Around `values`, from 0 where they are not negative.
    fn around(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low <= high { (low.min(0.0), high.max(0.0)) } else { (0.0, 1.0) };
        let span = if high > low { high - low } else { 1.0 };
        let magnitude = 10f64.powf((span / TICKS).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * magnitude)
            .find(|step| span / step <= TICKS + 1.0)
            .unwrap_or(span);
        Self { low: (low / step).floor() * step, high: (high / step).ceil().max(1.0) * step, step }
    }

    /// 0 to 1 along the axis.
    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (low, step) = (self.low, self.step);
        (0..=((self.high - low) / step).round() as usize).map(move |k| low + k as f64 * step)
    }

    fn label(&self, value: f64) -> String {
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        // 0 from below is still 0.
        format!("{:.decimals$}", value + 0.0)
    }
}

impl Chart {
    /// The SVG document.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| series.points.iter().copied().filter(finite));
        let (x, y) = (Axis::around(points().map(|p| p.0)), Axis::around(points().map(|p| p.1)));
        let (width, height) = self.size();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{width:.0}\" height=\"{height:.0}\" \
             fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
            escaped(&self.title)
        );
        self.draw_axes(&mut svg, x, y);
        for (number, series) in self.shown() {
            draw_series(&mut svg, series, Stroke::of(number, series.mark), x, y);
        }
        self.draw_legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    /// Series with points, and their numbers.
    fn shown(&self) -> impl Iterator<Item = (usize, &Series)> {
        self.series.iter().enumerate().filter(|(_, series)| !series.points.is_empty())
    }

    // Writing to a String cannot fail: results are ignored below.

    fn draw_axes(&self, svg: &mut String, x: Axis, y: Axis) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in x.ticks() {
            let at = across(x, tick);
            _ = writeln!(svg, "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#e4e4e4\"/>");
            _ = writeln!(
                svg,
                "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                x.label(tick)
            );
        }
        for tick in y.ticks() {
            let at = down(y, tick);
            _ = writeln!(svg, "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#e4e4e4\"/>");
            _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                y.label(tick)
            );
        }
        let (middle, half) = (0.5 * (LEFT + right), 0.5 * (TOP + bottom));
        _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 12.0,
            escaped(&self.x)
        );
        _ = writeln!(
            svg,
            "<text transform=\"translate(16 {half}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escaped(&self.y)
        );
    }

    /// Beside the plot, where it hides nothing.
    fn draw_legend(&self, svg: &mut String) {
        if !self.has_legend() {
            return;
        }
        for (line, (number, series)) in self.shown().enumerate() {
            let at = TOP + 20.0 + LEGEND_LINE * line as f64;
            _ = writeln!(
                svg,
                "<path d=\"M{:.1} {:.1}h24\" {}/><text x=\"{:.1}\" y=\"{at:.1}\">{}</text>",
                WIDTH + 8.0,
                at - 4.0,
                Stroke::of(number, series.mark).attributes(2.6),
                WIDTH + 38.0,
                escaped(&series.name)
            );
        }
    }

    fn has_legend(&self) -> bool {
        self.shown().count() > 1
    }

    /// Width and height of the picture: wider and higher than the plot where its legend asks for it.
    fn size(&self) -> (f64, f64) {
        if !self.has_legend() {
            return (WIDTH, HEIGHT);
        }
        let longest = self.shown().map(|(_, series)| series.name.chars().count()).max().unwrap_or(0);
        let legend = LEGEND_LINE * self.shown().count() as f64;
        (WIDTH + 46.0 + 6.6 * longest as f64, HEIGHT.max(TOP + legend + 16.0))
    }
}

/// How a series differs from the others.
#[derive(Debug, Clone, Copy)]
struct Stroke {
    color: &'static str,
    dashes: &'static str,
}

impl Stroke {
    fn of(number: usize, mark: Mark) -> Self {
        let again = (number / COLORS.len()).min(DASHES.len() - 1);
        let dashes = if mark == Mark::Dashed { "5 4" } else { DASHES[again] };
        Self { color: COLORS[number % COLORS.len()], dashes }
    }

    fn attributes(self, width: f64) -> String {
        let Self { color, dashes } = self;
        let dashes =
            if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
        format!("fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"{dashes}")
    }
}

fn finite(point: &(f64, f64)) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

fn across(axis: Axis, value: f64) -> f64 {
    LEFT + axis.share(value) * (WIDTH - LEFT - RIGHT)
}

fn down(axis: Axis, value: f64) -> f64 {
    HEIGHT - BOTTOM - axis.share(value) * (HEIGHT - TOP - BOTTOM)
}

fn draw_series(svg: &mut String, series: &Series, stroke: Stroke, x: Axis, y: Axis) {
    let places = series.points.iter().filter(|point| finite(point));
    let places = places.map(|point| (across(x, point.0), down(y, point.1)));
    let places: Vec<(f64, f64)> = places.collect();
    // Half-transparent where thousands lie on each other.
    let (radius, opacity) = if series.mark == Mark::Dots { (2.0, 0.35) } else { (2.6, 1.0) };
    let dots = matches!(series.mark, Mark::Dots | Mark::LineAndDots) || places.len() == 1;
    for (x, y) in places.iter().filter(|_| dots) {
        _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{}\" fill-opacity=\"{opacity}\"/>",
            stroke.color
        );
    }
    if series.mark == Mark::Dots || places.len() < 2 {
        return;
    }
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    _ = writeln!(svg, "<path d=\"M{}\" {}/>", path.join("L"), stroke.attributes(1.8));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let series = Series { name: "a < b".to_owned(), mark: Mark::Line, points };
        let other =
            Series { name: "ideal".to_owned(), mark: Mark::Dashed, points: vec![(0.0, 0.0), (10.0, 4.0)] };
        Chart {
            title: "T".to_owned(),
            x: "steps".to_owned(),
            y: "metres".to_owned(),
            series: vec![series, other],
        }
    }

    #[test]
    fn curves_run_from_corner_to_corner() {
        let svg = chart(vec![(0.0, 0.0), (10.0, 4.0)]).svg();
        assert!(svg.contains("M64.0 348.0L616.0 44.0"), "{svg}");
        assert!(svg.contains("stroke-dasharray") && svg.contains("a &lt; b"), "{svg}");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn measurements_have_a_dot_each_and_a_lone_point_is_seen() {
        let drawn = |mark: Mark, points: Vec<(f64, f64)>| {
            let series = vec![Series { name: "a".to_owned(), mark, points }];
            let svg = Chart { series, ..chart(Vec::new()) }.svg();
            (svg.matches("<circle").count(), svg.contains("fill=\"none\""))
        };
        let three = || vec![(0.0, 0.0), (5.0, 1.0), (10.0, 4.0)];
        assert_eq!(drawn(Mark::LineAndDots, three()), (3, true));
        assert_eq!(drawn(Mark::Line, three()), (0, true));
        assert_eq!(drawn(Mark::Dots, three()), (3, false));
        for mark in [Mark::Line, Mark::LineAndDots, Mark::Dots] {
            assert_eq!(drawn(mark, vec![(10.0, 4.0)]), (1, false), "{mark:?}");
            assert_eq!(drawn(mark, Vec::new()), (0, false), "{mark:?}");
        }
    }

    #[test]
    fn many_series_look_different_and_their_legend_hides_nothing() {
        let series = |number: usize| Series {
            name: format!("series {number}"),
            mark: Mark::Line,
            points: vec![(0.0, 0.0), (10.0, number as f64)],
        };
        let of = |count: usize| Chart { series: (0..count).map(series).collect(), ..chart(Vec::new()) };
        let strokes: Vec<String> =
            (0..20).map(|number| Stroke::of(number, Mark::Line).attributes(1.0)).collect();
        assert!((0..20).all(|a| (a + 1..20).all(|b| strokes[a] != strokes[b])), "{strokes:?}");
        assert!(of(1).svg().contains("viewBox=\"0 0 640 400\""));
        let (width, height) = of(25).size();
        assert!(width > WIDTH + 100.0 && height > TOP + 25.0 * LEGEND_LINE);
        // The last name stands right of the plot and above the lower edge.
        let svg = of(25).svg();
        let last = svg.lines().find(|line| line.contains(">series 24<")).unwrap();
        let at = |name: &str| -> f64 {
            let text = &last[last.find("<text").unwrap()..];
            text.split(&format!(" {name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        assert!(at("x") > WIDTH && at("y") < height, "{last}");
    }

    #[test]
    fn a_series_without_points_keeps_its_colour() {
        let series = |name: &str, points| Series { name: name.to_owned(), mark: Mark::Line, points };
        let series = vec![
            series("first", vec![(0.0, 0.0), (1.0, 1.0)]),
            series("second", Vec::new()),
            series("third", vec![(0.0, 1.0), (1.0, 0.0)]),
        ];
        let svg = Chart { series, ..chart(Vec::new()) }.svg();
        assert!(!svg.contains("second") && !svg.contains(COLORS[1]), "{svg}");
        // Its line of the legend is the next one.
        let third = svg.lines().find(|line| line.contains(">third<")).unwrap();
        let below = format!("y=\"{:.1}\"", TOP + 20.0 + LEGEND_LINE);
        assert!(third.contains(COLORS[2]) && third.contains(&below), "{third}");
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let svg = chart(vec![(f64::NAN, 1.0), (1.0, f64::INFINITY)]).svg();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let empty = Chart { series: Vec::new(), ..chart(Vec::new()) }.svg();
        assert!(empty.contains("steps") && !empty.contains("NaN"), "{empty}");
    }

    #[test]
    fn ticks_are_round() {
        let axis = Axis::around([0.0, 7.3].into_iter());
        assert_eq!(axis.ticks().map(|t| axis.label(t)).collect::<Vec<_>>(), ["0", "2", "4", "6", "8"]);
        let axis = Axis::around([-0.3, 0.2].into_iter());
        assert_eq!(axis.label(axis.low), "-0.3");
    }
}
