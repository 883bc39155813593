//! All colours, sizes and text styles of the app.

use bevy_egui::egui::{
    Color32, Context, CornerRadius, FontFamily, FontId, Frame, Margin, RichText, Stroke, TextStyle, Theme,
    style::ScrollStyle, vec2,
};

/// Window and 3D background.
pub(crate) const BACKGROUND: Color32 = Color32::from_rgb(14, 16, 20);
/// Panels.
pub(crate) const PANEL: Color32 = Color32::from_rgb(21, 24, 30);
/// Cards and fields on a panel.
pub(crate) const FIELD: Color32 = Color32::from_rgb(30, 34, 42);
/// Buttons at rest.
pub(crate) const BUTTON: Color32 = Color32::from_rgb(42, 47, 58);
/// Buttons under the pointer.
pub(crate) const BUTTON_HOVERED: Color32 = Color32::from_rgb(54, 61, 75);
/// The one button that matters most.
pub(crate) const ACCENT: Color32 = Color32::from_rgb(58, 118, 214);
/// Main text.
pub(crate) const TEXT: Color32 = Color32::from_rgb(226, 230, 238);
/// Secondary text.
pub(crate) const TEXT_WEAK: Color32 = Color32::from_rgb(139, 147, 161);
/// What the model predicts: situation, arrow.
pub(crate) const PREDICTED: Color32 = Color32::from_rgb(255, 176, 64);
/// What is true.
pub(crate) const TRUE: Color32 = Color32::from_rgb(92, 214, 142);
/// What was placed by hand.
pub(crate) const PLACED: Color32 = Color32::from_rgb(206, 142, 255);
/// Camera path, frusta, current frame.
pub(crate) const CAMERA: Color32 = Color32::from_rgb(92, 170, 255);
/// Something went wrong.
pub(crate) const PROBLEM: Color32 = Color32::from_rgb(255, 110, 104);
/// Grid and separating lines.
pub(crate) const GRID: Color32 = Color32::from_rgb(58, 64, 76);

/// Width of the column with video and questions at its first opening, points.
pub(crate) const LEFT_WIDTH: f32 = 500.0;
/// Height of the timeline, points.
pub(crate) const TIMELINE_HEIGHT: f32 = 92.0;
/// Between unrelated things on a panel, points.
pub(crate) const GAP: f32 = 12.0;

/// From certain (0) to uncertain (1).
pub(crate) fn uncertainty(share: f32) -> Color32 {
    const STOPS: [[f32; 3]; 4] =
        [[66.0, 220.0, 200.0], [120.0, 160.0, 255.0], [214.0, 96.0, 214.0], [255.0, 84.0, 84.0]];
    let position = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let low = (position as usize).min(STOPS.len() - 2);
    let t = position - low as f32;
    let [r, g, b] = std::array::from_fn(|i| STOPS[low][i] + (STOPS[low + 1][i] - STOPS[low][i]) * t);
    Color32::from_rgb(r as u8, g as u8, b as u8)
}

/// Dark, calm, large enough for the back of a room.
pub(crate) fn apply(ctx: &Context) {
    ctx.set_theme(Theme::Dark);
    ctx.all_styles_mut(|style| {
        let size = |points| FontId::new(points, FontFamily::Proportional);
        style.text_styles = [
            (TextStyle::Small, size(12.0)),
            (TextStyle::Body, size(14.5)),
            (TextStyle::Button, size(14.5)),
            (TextStyle::Heading, size(20.0)),
            (TextStyle::Monospace, FontId::new(12.5, FontFamily::Monospace)),
        ]
        .into();
        style.spacing.item_spacing = vec2(8.0, 8.0);
        style.spacing.button_padding = vec2(10.0, 5.0);
        style.spacing.interact_size.y = 28.0;
        style.spacing.slider_width = 130.0;
        // Beside what scrolls, not over it.
        style.spacing.scroll = ScrollStyle::thin();
        let visuals = &mut style.visuals;
        visuals.override_text_color = Some(TEXT);
        visuals.panel_fill = PANEL;
        visuals.window_fill = PANEL;
        visuals.window_stroke = Stroke::new(1.0, GRID);
        visuals.extreme_bg_color = FIELD;
        visuals.faint_bg_color = FIELD;
        visuals.weak_text_color = Some(TEXT_WEAK);
        visuals.selection.bg_fill = ACCENT;
        visuals.selection.stroke = Stroke::new(1.0, TEXT);
        let widgets = &mut visuals.widgets;
        for (widget, fill) in [
            (&mut widgets.inactive, BUTTON),
            (&mut widgets.hovered, BUTTON_HOVERED),
            (&mut widgets.active, ACCENT),
            (&mut widgets.open, BUTTON_HOVERED),
        ] {
            widget.bg_fill = fill;
            widget.weak_bg_fill = fill;
            widget.bg_stroke = Stroke::NONE;
            widget.corner_radius = CornerRadius::same(6);
            widget.expansion = 0.0;
        }
        widgets.noninteractive.bg_stroke = Stroke::new(1.0, GRID);
        widgets.noninteractive.corner_radius = CornerRadius::same(6);
    });
}

/// The frame of a panel.
pub(crate) fn panel_frame() -> Frame {
    Frame::new().fill(PANEL).inner_margin(Margin::symmetric(14, 10))
}

/// The frame of a card on a panel.
pub(crate) fn card_frame() -> Frame {
    Frame::new().fill(FIELD).corner_radius(CornerRadius::same(8)).inner_margin(Margin::symmetric(12, 10))
}

/// The frame of a window over the panels.
pub(super) fn window_frame() -> Frame {
    Frame::new()
        .fill(PANEL)
        .stroke(Stroke::new(1.0, GRID))
        .corner_radius(CornerRadius::same(10))
        .inner_margin(Margin::symmetric(20, 16))
}

/// Secondary text.
pub(crate) fn weak(text: impl Into<String>) -> RichText {
    RichText::new(text).color(TEXT_WEAK).text_style(TextStyle::Small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncertainty_runs_from_the_first_to_the_last_colour() {
        assert_eq!(uncertainty(-1.0), Color32::from_rgb(66, 220, 200));
        assert_eq!(uncertainty(2.0), Color32::from_rgb(255, 84, 84));
    }
}
