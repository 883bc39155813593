//! "What the model saw": the resized frames, the full prompt, reused and new tokens.

use std::sync::Arc;

use bevy_egui::egui::{
    ColorImage, Context, Grid, Id, Image, RichText, ScrollArea, Sense, TextStyle, TextureHandle,
    TextureOptions, Ui, Window, vec2,
};

use crate::session::{AskedQuestion, ModelSight, TokenCounts};
use crate::viewer::action::ViewerAction;
use crate::viewer::theme;
use crate::viewer::views::SightView;

/// Side of a frame on screen, points.
const FRAME_SIDE: f32 = 128.0;

/// Draws the window.
pub fn sight_ui(ctx: &Context, view: &SightView<'_>, actions: &mut Vec<ViewerAction>) {
    let mut open = true;
    Window::new("What the model saw").open(&mut open).default_size(vec2(760.0, 560.0)).show(ctx, |ui| {
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
    let columns = (ui.available_width() / (FRAME_SIDE + ui.spacing().item_spacing.x)).max(1.0) as usize;
    let pictures: Vec<_> = sight.frames.iter().zip(textures.iter()).collect();
    Grid::new("frames").num_columns(columns).show(ui, |ui| {
        for row in pictures.chunks(columns) {
            for &(&frame, texture) in row {
                ui.vertical(|ui| {
                    let image = Image::new(texture)
                        .fit_to_exact_size(vec2(FRAME_SIDE, FRAME_SIDE))
                        .sense(Sense::click());
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
