//! The video's one texture, written in place in the render world when the picture
//! changes.

use bevy::asset::RenderAssetUsages;
use bevy::image::Image;
use bevy::prelude::{App, Assets, Handle, IntoScheduleConfigs as _, Local, Res, ResMut, Resource, Update};
use bevy::render::extract_resource::{ExtractResource, ExtractResourcePlugin};
use bevy::render::render_asset::RenderAssets;
use bevy::render::render_resource::{
    Extent3d, Origin3d, TexelCopyBufferLayout, TexelCopyTextureInfo, TextureAspect, TextureDimension,
    TextureFormat, TextureUsages,
};
use bevy::render::renderer::RenderQueue;
use bevy::render::texture::GpuImage;
use bevy::render::{Render, RenderApp, RenderSystems};
use bevy_egui::{EguiTextureHandle, EguiUserTextures, egui};

use crate::geometry::ImageSize;
use crate::video::Frame;
use crate::viewer::ViewerSet;
use crate::viewer::bridge::VideoLink;

/// The picture on screen on its way to the GPU.
#[derive(Debug, Clone, Resource, ExtractResource)]
pub(super) struct VideoPicture {
    texture: Handle<Image>,
    /// For egui.
    pub id: egui::TextureId,
    frame: Option<Frame>,
    size: ImageSize,
    /// [`VideoLink::revision`] of the frame.
    revision: u64,
}

pub(super) fn plugin(app: &mut App) {
    app.add_plugins(ExtractResourcePlugin::<VideoPicture>::default())
        .add_systems(bevy::prelude::Startup, create)
        .add_systems(Update, hand_over.in_set(ViewerSet::Present));
    if let Some(render_app) = app.get_sub_app_mut(RenderApp) {
        render_app.add_systems(Render, write.in_set(RenderSystems::PrepareResources));
    }
}

fn texture(size: ImageSize) -> Image {
    let mut image = Image::new_uninit(
        Extent3d { width: size.width, height: size.height, depth_or_array_layers: 1 },
        TextureDimension::D2,
        TextureFormat::Rgba8UnormSrgb,
        RenderAssetUsages::all(),
    );
    image.texture_descriptor.usage = TextureUsages::TEXTURE_BINDING | TextureUsages::COPY_DST;
    image
}

fn create(world: &mut bevy::prelude::World) {
    let size = ImageSize::new(1, 1);
    let handle = world.resource_mut::<Assets<Image>>().add(texture(size));
    let id = world.resource_mut::<EguiUserTextures>().add_image(EguiTextureHandle::Strong(handle.clone()));
    world.insert_resource(VideoPicture { texture: handle, id, frame: None, size, revision: 0 });
}

/// Takes the newest frame; the texture is made anew only for another size of video.
fn hand_over(link: Res<VideoLink>, mut picture: ResMut<VideoPicture>, mut images: ResMut<Assets<Image>>) {
    if link.revision == picture.revision {
        return;
    }
    let Some(frame) = &link.shown else { return };
    picture.revision = link.revision;
    picture.frame = Some(frame.clone());
    if frame.size != picture.size
        && let Some(mut image) = images.get_mut(&picture.texture)
    {
        picture.size = frame.size;
        *image = texture(frame.size);
    }
}

/// Writes the pixels. The texture of a new size may appear a frame later.
fn write(
    picture: Option<Res<VideoPicture>>,
    images: Res<RenderAssets<GpuImage>>,
    queue: Res<RenderQueue>,
    mut written: Local<Option<u64>>,
    mut rgba: Local<Vec<u8>>,
) {
    let Some(picture) = picture else { return };
    let (Some(frame), Some(target)) = (&picture.frame, images.get(&picture.texture)) else { return };
    let fits = target.size_2d().to_array() == [frame.size.width, frame.size.height];
    if *written == Some(picture.revision) || !fits || frame.rgb.len() != frame.size.pixels() * 3 {
        return;
    }
    rgba.clear();
    rgba.extend(frame.rgb.chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]));
    queue.write_texture(
        TexelCopyTextureInfo {
            texture: &target.texture,
            mip_level: 0,
            origin: Origin3d::ZERO,
            aspect: TextureAspect::All,
        },
        &rgba,
        TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(frame.size.width * 4), rows_per_image: None },
        target.texture_descriptor.size,
    );
    *written = Some(picture.revision);
}
