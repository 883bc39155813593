//! "What the model saw": the resized frames, the full prompt, reused and new tokens.

use std::sync::Arc;

use bevy_egui::egui::{
    Align2, ColorImage, Context, Grid, Id, Image, RichText, ScrollArea, Sense, TextStyle, TextureHandle,
    TextureOptions, Ui, Window, vec2,
};

use crate::session::{AskedQuestion, ModelSight, TokenCounts};
use crate::viewer::action::ViewerAction;
use crate::viewer::theme;
use crate::viewer::views::SightView;

/// Smallest side of a frame on screen, points.
const FRAME_SIDE: f32 = 84.0;
/// Largest side of a frame on screen, points.
const LARGEST_SIDE: f32 = 168.0;
/// Size of the window at its first opening, points.
const SIZE: [f32; 2] = [800.0, 520.0];

/// Draws the window.
pub(in crate::viewer) fn sight_ui(ctx: &Context, view: &SightView<'_>, actions: &mut Vec<ViewerAction>) {
    let mut open = true;
    let window = Window::new("What the model saw")
        .open(&mut open)
        .collapsible(false)
        .frame(theme::window_frame())
        .pivot(Align2::RIGHT_TOP)
        .default_pos(ctx.content_rect().right_top() + vec2(-20.0, 112.0))
        .default_size(SIZE);
    window.show(ctx, |ui| {
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            match &view.session.sight {
                Some(sight) => frames(ui, sight, actions),
                None => {
                    ui.label(theme::weak("Nothing yet: open a video with a model loaded."));
                }
            }
            if let Some(asked) = view.question {
                prompt(ui, asked);
            }
        });
    });
    if !open {
        actions.push(ViewerAction::ToggleSight);
    }
}

fn frames(ui: &mut Ui, sight: &Arc<ModelSight>, actions: &mut Vec<ViewerAction>) {
    ui.label(theme::weak(format!(
        "{} frames of {} × {} pixels, {} tokens each with the camera token, {} tokens in all",
        sight.frames.len(),
        sight.size.width,
        sight.size.height,
        sight.tokens_per_frame,
        sight.prefix_tokens
    )));
    let textures = textures(ui.ctx(), sight);
    let gap = ui.spacing().item_spacing.x;
    let columns = columns(sight.frames.len(), ui.available_width(), gap);
    let side = ((ui.available_width() - gap * (columns - 1) as f32) / columns as f32).min(LARGEST_SIDE);
    let pictures: Vec<_> = sight.frames.iter().zip(textures.iter()).collect();
    Grid::new("frames").num_columns(columns).spacing(vec2(gap, gap)).show(ui, |ui| {
        for row in pictures.chunks(columns) {
            for &(&frame, texture) in row {
                ui.vertical(|ui| {
                    let image = Image::new(texture).fit_to_exact_size(vec2(side, side)).sense(Sense::click());
                    if ui.add(image).on_hover_text("Show this frame").clicked() {
                        actions.push(ViewerAction::SeekTo(frame));
                    }
                    ui.label(theme::weak(format!("frame {}", frame.0 + 1)));
                });
            }
            ui.end_row();
        }
    });
}

/// How many frames stand in a row: those that fit, or fewer when the last row is fuller then.
fn columns(frames: usize, width: f32, gap: f32) -> usize {
    let most = (((width + gap) / (FRAME_SIDE + gap)) as usize).clamp(1, frames.max(1));
    let empty = |columns: usize| frames.div_ceil(columns) * columns - frames;
    (most.div_ceil(2)..=most).rev().min_by_key(|&columns| empty(columns)).unwrap_or(most)
}

/// Textures of the frames, made once per clip.
fn textures(ctx: &Context, sight: &Arc<ModelSight>) -> Arc<Vec<TextureHandle>> {
    type Cached = (usize, Arc<Vec<TextureHandle>>);
    let id = Id::new("sight textures");
    let key = Arc::as_ptr(sight) as usize;
    if let Some((cached, textures)) = ctx.data(|data| data.get_temp::<Cached>(id))
        && cached == key
    {
        return textures;
    }
    let size = [sight.size.width as usize, sight.size.height as usize];
    let made = sight
        .rgb
        .chunks_exact((size[0] * size[1] * 3).max(1))
        .enumerate()
        .map(|(k, rgb)| {
            let image = ColorImage::from_rgb(size, rgb);
            ctx.load_texture(format!("sight {k}"), image, TextureOptions::NEAREST)
        })
        .collect();
    let made = Arc::new(made);
    ctx.data_mut(|data| data.insert_temp::<Cached>(id, (key, Arc::clone(&made))));
    made
}

fn prompt(ui: &mut Ui, asked: &AskedQuestion) {
    let Some(answer) = &asked.answer else { return };
    ui.add_space(theme::GAP);
    let TokenCounts { prompt, reused, generated } = answer.tokens;
    let new = prompt.saturating_sub(reused);
    ui.label(theme::weak(format!(
        "Prompt: {prompt} tokens, of which {reused} were kept from before and {new} computed; {generated} written"
    )));
    theme::card_frame().show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new(&answer.prompt).text_style(TextStyle::Monospace));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_full_where_they_can_be() {
        assert_eq!(columns(16, 760.0, 8.0), 8);
        assert_eq!(columns(16, 640.0, 8.0), 4);
        assert_eq!(columns(3, 760.0, 8.0), 3);
        assert_eq!((columns(0, 760.0, 8.0), columns(5, 10.0, 8.0)), (1, 1));
    }
}
