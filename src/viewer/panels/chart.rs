//! Small charts of training curves, drawn with egui's painter: title and newest value on
//! top, the values as they are behind their running mean, the value under the pointer.

use bevy_egui::egui::{
    Align2, Color32, FontId, Painter, Pos2, Rect, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo, WidgetType,
    pos2, vec2,
};

use crate::train::curve::{Curve, CurvePoint};
use crate::viewer::theme;

/// Values whose largest is so many times their smallest are drawn on a logarithmic scale.
const LOGARITHMIC: f64 = 30.0;
/// The running mean reaches over this share of the points.
const SMOOTHING: f64 = 0.04;
/// Room for title and value, points.
const HEADER: f32 = 22.0;

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChartKind {
    /// Many noisy values: their running mean in front of them.
    Steps,
    /// A few exact ones: points joined by lines.
    Figures,
}

/// A chart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// Its unit, or nothing.
    pub unit: &'a str,
    /// The values.
    pub curve: &'a Curve,
    /// How they are drawn.
    pub kind: ChartKind,
    /// A value to compare with, and what it is.
    pub baseline: Option<(f64, &'a str)>,
    /// Its colour.
    pub color: Color32,
}

/// Where values lie on the screen.
struct Scale {
    rect: Rect,
    steps: (f64, f64),
    values: (f64, f64),
    logarithmic: bool,
}

impl Scale {
    fn new(rect: Rect, chart: &Chart<'_>) -> Self {
        let points = chart.curve.points();
        let finite =
            points.iter().flat_map(|point| [point.low, point.high]).filter(|value| value.is_finite());
        let all = finite.chain(chart.baseline.map(|(value, _)| value));
        let (mut low, mut high) = all
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let logarithmic = low > 0.0 && high / low > LOGARITHMIC;
        if !logarithmic {
            let margin = (0.08 * (high - low)).max(1e-9 * high.abs()).max(1e-12);
            // Small values are seen against zero; nothing below it where nothing is.
            low = if low >= 0.0 && low < 0.4 * high { 0.0 } else { low - margin };
            high += margin;
        }
        let first = points.first().map_or(0, |point| point.first) as f64;
        let last = points.last().map_or(1, |point| point.last) as f64;
        Self { rect, steps: (first, last.max(first + 1.0)), values: (low, high), logarithmic }
    }

    fn x(&self, step: f64) -> f32 {
        let share = (step - self.steps.0) / (self.steps.1 - self.steps.0);
        self.rect.left() + self.rect.width() * share as f32
    }

    fn y(&self, value: f64) -> f32 {
        let (low, high) = self.values;
        let share = if self.logarithmic {
            (value.max(low) / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        };
        self.rect.bottom() - self.rect.height() * share.clamp(0.0, 1.0) as f32
    }

    fn at(&self, point: &CurvePoint, value: f64) -> Pos2 {
        pos2(self.x(0.5 * (point.first + point.last) as f64), self.y(value))
    }
}

/// Draws a chart of `size` points.
pub(crate) fn chart_ui(ui: &mut Ui, size: Vec2, chart: &Chart<'_>) {
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let newest = chart.curve.newest().map_or_else(String::new, |(_, value)| with_unit(value, chart.unit));
    response
        .widget_info(|| WidgetInfo::labeled(WidgetType::Other, true, format!("{}: {newest}", chart.title)));
    let painter = ui.painter_at(rect);
    painter.rect_filled(rect, 6.0, theme::FIELD);
    let inner = rect.shrink2(vec2(10.0, 6.0));
    let plot = Rect::from_min_max(inner.min + vec2(0.0, HEADER), inner.max - vec2(0.0, 4.0));
    let scale = Scale::new(plot, chart);
    header(&painter, inner, chart, &newest, scale.logarithmic);
    if let Some((value, what)) = chart.baseline {
        let y = scale.y(value);
        let line = [pos2(plot.left(), y), pos2(plot.right(), y)];
        painter.extend(Shape::dashed_line(&line, Stroke::new(1.0, theme::TEXT_WEAK), 4.0, 4.0));
        // Above the line where there is room.
        let anchor = if y > plot.top() + 14.0 { Align2::RIGHT_BOTTOM } else { Align2::RIGHT_TOP };
        let note = format!("{what} {}", figure(value));
        painter.text(pos2(plot.right(), y), anchor, note, FontId::proportional(10.5), theme::TEXT_WEAK);
    }
    match chart.kind {
        ChartKind::Steps => steps(&painter, &scale, chart),
        ChartKind::Figures => figures(&painter, &scale, chart),
    }
    if let Some(pointer) = response.hover_pos().filter(|pointer| plot.expand(4.0).contains(*pointer)) {
        under_pointer(&painter, &scale, chart, pointer);
    }
}

fn header(painter: &Painter, inner: Rect, chart: &Chart<'_>, newest: &str, logarithmic: bool) {
    let title = painter.text(
        inner.left_top(),
        Align2::LEFT_TOP,
        chart.title,
        FontId::proportional(12.0),
        theme::TEXT_WEAK,
    );
    let value =
        painter.text(inner.right_top(), Align2::RIGHT_TOP, newest, FontId::proportional(13.5), theme::TEXT);
    let galley =
        painter.layout_no_wrap("logarithmic".to_owned(), FontId::proportional(10.5), theme::TEXT_WEAK);
    let left = title.right() + 8.0;
    if logarithmic && left + galley.size().x < value.left() - 6.0 {
        let color = theme::TEXT_WEAK.gamma_multiply(0.8);
        painter.galley_with_override_text_color(pos2(left, inner.top() + 1.5), galley, color);
    }
}

/// Every value faintly, their running mean in front.
fn steps(painter: &Painter, scale: &Scale, chart: &Chart<'_>) {
    let points = chart.curve.points();
    let faint = Stroke::new(1.0, chart.color.gamma_multiply(0.28));
    let mut raw = Vec::with_capacity(2 * points.len());
    for point in points {
        raw.push(scale.at(point, point.low));
        if point.high > point.low {
            raw.push(scale.at(point, point.high));
        }
    }
    painter.add(Shape::line(raw, faint));
    let means: Vec<Pos2> = points
        .iter()
        .filter(|point| point.mean.is_finite())
        .map(|point| scale.at(point, point.mean))
        .collect();
    painter.add(Shape::line(smoothed(&means), Stroke::new(1.8, chart.color)));
    if let [point] = points {
        painter.circle_filled(scale.at(point, point.mean), 2.5, chart.color);
    }
}

/// The running mean of heights on the screen, taken to both sides so that it neither lags
/// behind a fall nor hides it on a logarithmic scale.
fn smoothed(points: &[Pos2]) -> Vec<Pos2> {
    let reach = (0.5 * SMOOTHING * points.len() as f64) as usize;
    let mean = |k: usize| {
        let window = &points[k.saturating_sub(reach)..(k + reach + 1).min(points.len())];
        window.iter().map(|point| point.y).sum::<f32>() / window.len() as f32
    };
    points.iter().enumerate().map(|(k, point)| pos2(point.x, mean(k))).collect()
}

fn figures(painter: &Painter, scale: &Scale, chart: &Chart<'_>) {
    let points = chart.curve.points();
    let line = points.iter().map(|point| scale.at(point, point.mean)).collect();
    painter.add(Shape::line(line, Stroke::new(1.8, chart.color)));
    if points.len() <= 60 {
        for point in points {
            painter.circle_filled(scale.at(point, point.mean), 2.5, chart.color);
        }
    }
}

fn under_pointer(painter: &Painter, scale: &Scale, chart: &Chart<'_>, pointer: Pos2) {
    let near = |point: &&CurvePoint| (scale.at(point, point.mean).x - pointer.x).abs();
    let Some(point) = chart.curve.points().iter().min_by(|a, b| near(a).total_cmp(&near(b))) else { return };
    let at = scale.at(point, point.mean);
    let plot = scale.rect;
    let line = [pos2(at.x, plot.top()), pos2(at.x, plot.bottom())];
    painter.line_segment(line, Stroke::new(1.0, theme::TEXT_WEAK.gamma_multiply(0.6)));
    painter.circle_filled(at, 3.0, theme::TEXT);
    let steps = if point.first == point.last {
        format!("step {}", point.last)
    } else {
        format!("steps {} to {}", point.first, point.last)
    };
    let text = format!("{steps}: {}", with_unit(point.mean, chart.unit));
    let galley = painter.layout_no_wrap(text, FontId::proportional(11.0), theme::TEXT);
    let size = galley.size() + vec2(10.0, 4.0);
    let left = (at.x - 0.5 * size.x).clamp(plot.left(), (plot.right() - size.x).max(plot.left()));
    let plate = Rect::from_min_size(pos2(left, plot.bottom() - size.y), size);
    painter.rect_filled(plate, 4.0, theme::BACKGROUND.gamma_multiply(0.9));
    painter.galley(plate.min + vec2(5.0, 2.0), galley, theme::TEXT);
}

fn with_unit(value: f64, unit: &str) -> String {
    match unit {
        "" => figure(value),
        "%" => format!("{:.1} %", 100.0 * value),
        unit => format!("{} {unit}", figure(value)),
    }
}

/// Three digits or so.
fn figure(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.1e}")
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(curve: &Curve) -> Chart<'_> {
        let (kind, color) = (ChartKind::Steps, theme::ACCENT);
        Chart { title: "loss", unit: "", curve, kind, baseline: None, color }
    }

    #[test]
    fn curves_fill_their_plot_and_falls_by_far_are_logarithmic() {
        let rect = Rect::from_min_size(Pos2::ZERO, vec2(100.0, 50.0));
        let mut curve = Curve::default();
        for (step, value) in [(1, 400.0), (2, 20.0), (3, 1.0)] {
            curve.push(step, value);
        }
        let scale = Scale::new(rect, &chart(&curve));
        assert!(scale.logarithmic);
        assert_eq!((scale.x(1.0), scale.x(3.0)), (0.0, 100.0));
        assert_eq!((scale.y(400.0), scale.y(1.0)), (0.0, 50.0));
        assert!((scale.y(20.0) - 25.0).abs() < 1.0);
        let mut flat = Curve::default();
        flat.push(5, 2.0);
        let scale = Scale::new(rect, &chart(&flat));
        assert!(!scale.logarithmic && scale.y(2.0).is_finite() && scale.x(5.0) == 0.0);
    }

    #[test]
    fn the_running_mean_takes_the_noise_and_does_not_lag() {
        let points: Vec<Pos2> =
            (0..200).map(|k| pos2(k as f32, 0.5 * k as f32 + if k % 2 == 0 { 3.0 } else { -3.0 })).collect();
        let mean = smoothed(&points);
        assert!((4..196).all(|k| (mean[k].y - 0.5 * k as f32).abs() < 0.7));
        // At the ends half the window is missing.
        assert!((mean[0].y - 1.0).abs() < 1.0 && (mean[199].y - 98.5).abs() < 1.0);
    }

    #[test]
    fn numbers_are_short() {
        let texts = [428.98, 14.1, 1.156, 0.0167, 0.00005, 0.0].map(figure);
        assert_eq!(texts, ["429", "14.1", "1.16", "0.0167", "5.0e-5", "0"]);
        assert_eq!(with_unit(0.125, "%"), "12.5 %");
    }
}
