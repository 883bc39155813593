//! All colours and sizes of the app.

use bevy_egui::egui::Color32;

/// Window and 3D background.
pub const BACKGROUND: Color32 = Color32::from_rgb(14, 16, 20);
/// Panels.
pub const PANEL: Color32 = Color32::from_rgb(21, 24, 30);
/// Main text.
pub const TEXT: Color32 = Color32::from_rgb(226, 230, 238);
/// Secondary text.
pub const TEXT_WEAK: Color32 = Color32::from_rgb(139, 147, 161);
/// What the model predicts: situation, arrow.
pub const PREDICTED: Color32 = Color32::from_rgb(255, 176, 64);
/// What is true.
pub const TRUE: Color32 = Color32::from_rgb(92, 214, 142);
/// What was placed by hand.
pub const PLACED: Color32 = Color32::from_rgb(206, 142, 255);
/// Camera path, frusta, current frame.
pub const CAMERA: Color32 = Color32::from_rgb(92, 170, 255);
/// Grid lines.
pub const GRID: Color32 = Color32::from_rgb(58, 64, 76);

/// From certain (0) to uncertain (1).
pub fn uncertainty(share: f32) -> Color32 {
    const STOPS: [[f32; 3]; 4] =
        [[66.0, 220.0, 200.0], [120.0, 160.0, 255.0], [214.0, 96.0, 214.0], [255.0, 84.0, 84.0]];
    let position = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let low = (position as usize).min(STOPS.len() - 2);
    let t = position - low as f32;
    let [r, g, b] = std::array::from_fn(|i| STOPS[low][i] + (STOPS[low + 1][i] - STOPS[low][i]) * t);
    Color32::from_rgb(r as u8, g as u8, b as u8)
}
