//! The 3D view as a picture: instanced marks, points and lines drawn into a texture
//! that egui shows like any image.
//!
//! The main world fills [`WorldPicture`]; the render world uploads geometry whose
//! revision moved and draws only when something changed. Filters (layers,
//! certainty) are one uniform, so a slider uploads 96 bytes.

mod instances;
mod pipelines;

use std::sync::Arc;

use bevy::asset::RenderAssetUsages;
use bevy::image::Image;
use bevy::prelude::{App, Assets, Handle, IntoScheduleConfigs as _, Res, ResMut, Resource, UVec2};
use bevy::render::extract_resource::{ExtractResource, ExtractResourcePlugin};
use bevy::render::render_asset::RenderAssets;
use bevy::render::render_resource::{
    Buffer, BufferInitDescriptor, BufferUsages, CommandEncoderDescriptor, Extent3d, LoadOp, Operations,
    RenderPassColorAttachment, RenderPassDepthStencilAttachment, RenderPassDescriptor, RenderPipeline,
    StoreOp, TextureDescriptor, TextureDimension, TextureFormat, TextureUsages, TextureView,
    TextureViewDescriptor,
};
use bevy::render::renderer::{RenderDevice, RenderQueue, render_system};
use bevy::render::texture::GpuImage;
use bevy::render::{GpuResourceAppExt as _, Render, RenderApp, RenderSystems};
use bytemuck::{NoUninit, Pod, Zeroable};

pub(crate) use instances::{Geometry, Line, Mark, Point, Rgba};
use pipelines::{COLOR_FORMAT, DEPTH_FORMAT, Pipelines, SAMPLES};

/// The uniform of `shaders/view.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct ViewUniform {
    /// Column-major.
    pub clip_from_anchor: [[f32; 4]; 4],
    /// Pixels.
    pub viewport: [f32; 2],
    /// At distance 1.
    pub pixels_per_metre: f32,
    /// 0 to 1.
    pub min_certainty: f32,
    /// One bit per layer.
    pub layers: u32,
    /// Interface scale.
    pub pixels_per_point: f32,
    /// Fills up to 16 bytes.
    pub padding: [u32; 2],
}

/// Geometry with a number that moves when it changes.
#[derive(Debug, Clone, Default)]
pub struct Versioned {
    /// What to draw.
    pub geometry: Arc<Geometry>,
    /// Grows with every change.
    pub revision: u64,
}

impl Versioned {
    /// Replaces the geometry.
    pub fn set(&mut self, geometry: Geometry) {
        self.geometry = Arc::new(geometry);
        self.revision += 1;
    }
}

/// The 3D view of this frame.
#[derive(Debug, Clone, Resource, ExtractResource)]
pub struct WorldPicture {
    /// Texture that is drawn into; larger than `size`, so that resizing is cheap.
    pub target: Handle<Image>,
    /// Part of the texture in use, from its top left corner, pixels.
    pub size: UVec2,
    /// Size of the texture, pixels.
    pub allocated: UVec2,
    /// Camera and filters.
    pub view: ViewUniform,
    /// Background, sRGB.
    pub background: [u8; 3],
    /// Changes when a clip, layout or setting changes.
    pub scene: Versioned,
    /// Changes while playing or dragging.
    pub moving: Versioned,
}

impl WorldPicture {
    /// The texture grows in steps of this many pixels.
    const STEP: u32 = 256;

    /// Makes the texture large enough for `size` pixels.
    pub fn fit(&mut self, images: &mut Assets<Image>, size: UVec2) {
        self.size = size.max(UVec2::ONE);
        let needed = (self.size / Self::STEP + UVec2::ONE) * Self::STEP;
        if needed != self.allocated
            && let Some(mut image) = images.get_mut(&self.target)
        {
            self.allocated = needed;
            *image = target_image(needed);
        }
    }
}

/// A texture that can be drawn into and shown by egui.
pub(crate) fn target_image(size: UVec2) -> Image {
    let mut image = Image::new_uninit(
        Extent3d { width: size.x, height: size.y, depth_or_array_layers: 1 },
        TextureDimension::D2,
        COLOR_FORMAT,
        RenderAssetUsages::all(),
    );
    image.texture_descriptor.usage =
        TextureUsages::TEXTURE_BINDING | TextureUsages::COPY_DST | TextureUsages::RENDER_ATTACHMENT;
    image
}

/// Instance buffers of one [`Geometry`].
#[derive(Default)]
struct Uploaded {
    revision: Option<u64>,
    floor_lines: Instances,
    floor_marks: Instances,
    points: Instances,
    lines: Instances,
    front_marks: Instances,
    front_lines: Instances,
}

#[derive(Default)]
struct Instances {
    buffer: Option<Buffer>,
    capacity: usize,
    count: u32,
}

impl Instances {
    /// Uploads `items`, reusing the buffer while they fit.
    fn upload<T: NoUninit>(&mut self, device: &RenderDevice, queue: &RenderQueue, items: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(items);
        self.count = items.len() as u32;
        match &self.buffer {
            _ if bytes.is_empty() => {}
            Some(buffer) if bytes.len() <= self.capacity => queue.write_buffer(buffer, 0, bytes),
            _ => {
                self.capacity = bytes.len();
                self.buffer = Some(device.create_buffer_with_data(&BufferInitDescriptor {
                    label: Some("world view instances"),
                    contents: bytes,
                    usage: BufferUsages::VERTEX | BufferUsages::COPY_DST,
                }));
            }
        }
    }
}

impl Uploaded {
    fn update(&mut self, device: &RenderDevice, queue: &RenderQueue, versioned: &Versioned) -> bool {
        if self.revision == Some(versioned.revision) {
            return false;
        }
        self.revision = Some(versioned.revision);
        let geometry = &versioned.geometry;
        self.floor_lines.upload(device, queue, &geometry.floor_lines);
        self.floor_marks.upload(device, queue, &geometry.floor_marks);
        self.points.upload(device, queue, &geometry.points);
        self.lines.upload(device, queue, &geometry.lines);
        self.front_marks.upload(device, queue, &geometry.front_marks);
        self.front_lines.upload(device, queue, &geometry.front_lines);
        true
    }
}

/// Multisampled colour and depth of one size.
struct Attachments {
    size: UVec2,
    color: TextureView,
    depth: TextureView,
}

impl Attachments {
    fn new(device: &RenderDevice, size: UVec2) -> Self {
        let texture = |label, format: TextureFormat| {
            device
                .create_texture(&TextureDescriptor {
                    label: Some(label),
                    size: Extent3d { width: size.x, height: size.y, depth_or_array_layers: 1 },
                    mip_level_count: 1,
                    sample_count: SAMPLES,
                    dimension: TextureDimension::D2,
                    format,
                    usage: TextureUsages::RENDER_ATTACHMENT,
                    view_formats: &[],
                })
                .create_view(&TextureViewDescriptor::default())
        };
        Self {
            size,
            color: texture("world view colour", COLOR_FORMAT),
            depth: texture("world view depth", DEPTH_FORMAT),
        }
    }
}

/// GPU state of the 3D view.
#[derive(Resource, Default)]
struct Canvas {
    scene: Uploaded,
    moving: Uploaded,
    attachments: Option<Attachments>,
    drawn: Option<(ViewUniform, [u8; 3], bevy::render::render_resource::TextureViewId)>,
}

/// Adds the 3D view to the render world.
pub(super) fn plugin(app: &mut App) {
    app.add_plugins(ExtractResourcePlugin::<WorldPicture>::default());
    if let Some(render_app) = app.get_sub_app_mut(RenderApp) {
        render_app
            .init_gpu_resource::<Pipelines>()
            .init_gpu_resource::<Canvas>()
            .add_systems(Render, draw.in_set(RenderSystems::Render).before(render_system));
    }
}

fn draw(
    picture: Option<Res<WorldPicture>>,
    pipelines: Option<Res<Pipelines>>,
    canvas: Option<ResMut<Canvas>>,
    images: Res<RenderAssets<GpuImage>>,
    device: Res<RenderDevice>,
    queue: Res<RenderQueue>,
) {
    let (Some(picture), Some(pipelines), Some(mut canvas)) = (picture, pipelines, canvas) else { return };
    let Some(target) = images.get(&picture.target) else { return };
    let canvas = &mut *canvas;
    let changed = canvas.scene.update(&device, &queue, &picture.scene)
        | canvas.moving.update(&device, &queue, &picture.moving);
    let state = Some((picture.view, picture.background, target.texture_view.id()));
    if !changed && canvas.drawn == state {
        return;
    }
    canvas.drawn = state;
    queue.write_buffer(&pipelines.uniform, 0, bytemuck::bytes_of(&picture.view));
    if canvas.attachments.as_ref().is_none_or(|attachments| attachments.size != target.size_2d()) {
        canvas.attachments = Some(Attachments::new(&device, target.size_2d()));
    }
    let size = picture.size.min(target.size_2d()).as_vec2();
    encode(canvas, &pipelines, &device, &queue, target, (size.x, size.y), picture.background);
}

fn encode(
    canvas: &Canvas,
    pipelines: &Pipelines,
    device: &RenderDevice,
    queue: &RenderQueue,
    target: &GpuImage,
    (width, height): (f32, f32),
    background: [u8; 3],
) {
    let Some(attachments) = &canvas.attachments else { return };
    let [red, green, blue] =
        background.map(|channel| f64::from(bevy::color::Srgba::gamma_function(f32::from(channel) / 255.0)));
    let mut encoder = device.create_command_encoder(&CommandEncoderDescriptor { label: Some("world view") });
    {
        let mut pass = encoder.begin_render_pass(&RenderPassDescriptor {
            label: Some("world view"),
            color_attachments: &[Some(RenderPassColorAttachment {
                view: &attachments.color,
                depth_slice: None,
                resolve_target: Some(&target.texture_view),
                ops: Operations {
                    load: LoadOp::Clear(
                        bevy::color::LinearRgba::new(red as f32, green as f32, blue as f32, 1.0).into(),
                    ),
                    store: StoreOp::Discard,
                },
            })],
            depth_stencil_attachment: Some(RenderPassDepthStencilAttachment {
                view: &attachments.depth,
                depth_ops: Some(Operations { load: LoadOp::Clear(1.0), store: StoreOp::Discard }),
                stencil_ops: None,
            }),
            timestamp_writes: None,
            occlusion_query_set: None,
            multiview_mask: None,
        });
        pass.set_viewport(0.0, 0.0, width, height, 0.0, 1.0);
        pass.set_bind_group(0, &*pipelines.bind_group, &[]);
        let mut draw = |pipeline: &RenderPipeline, instances: &Instances| {
            if let Some(buffer) = instances.buffer.as_ref().filter(|_| instances.count > 0) {
                pass.set_pipeline(pipeline);
                pass.set_vertex_buffer(0, *buffer.slice(..));
                pass.draw(0..4, 0..instances.count);
            }
        };
        let parts = [&canvas.scene, &canvas.moving];
        let order: [(&RenderPipeline, fn(&Uploaded) -> &Instances); 6] = [
            (&pipelines.lines_over, |part| &part.floor_lines),
            (&pipelines.marks, |part| &part.floor_marks),
            (&pipelines.points, |part| &part.points),
            (&pipelines.lines, |part| &part.lines),
            (&pipelines.marks, |part| &part.front_marks),
            (&pipelines.lines_over, |part| &part.front_lines),
        ];
        for (pipeline, instances) in order {
            for part in parts {
                draw(pipeline, instances(part));
            }
        }
    }
    queue.submit([encoder.finish()]);
}
