//! Pipelines of the 3D view: one bind group with the view uniform, instanced
//! four-vertex strips, 4x multisampling, one depth buffer.

use bevy::prelude::{FromWorld, Resource, World};
use bevy::render::render_resource::{
    BindGroup, BindGroupEntry, BindGroupLayout, BindGroupLayoutEntries, BlendState, Buffer, BufferDescriptor,
    BufferUsages, ColorTargetState, ColorWrites, CompareFunction, DepthBiasState, DepthStencilState,
    MultisampleState, PipelineCompilationOptions, PipelineLayout, PipelineLayoutDescriptor, PrimitiveState,
    PrimitiveTopology, RawFragmentState, RawRenderPipelineDescriptor, RawVertexBufferLayout, RawVertexState,
    RenderPipeline, ShaderModuleDescriptor, ShaderSource, ShaderStages, StencilState, TextureFormat,
    VertexAttribute, VertexFormat, VertexStepMode, binding_types::uniform_buffer_sized,
};
use bevy::render::renderer::RenderDevice;

use super::ViewUniform;

/// Pixel format of the picture.
pub(super) const COLOR_FORMAT: TextureFormat = TextureFormat::Rgba8UnormSrgb;
/// Format of the depth buffer.
pub(super) const DEPTH_FORMAT: TextureFormat = TextureFormat::Depth32Float;
/// Samples per pixel.
pub(super) const SAMPLES: u32 = 4;

const VIEW: &str = include_str!("../../../shaders/view.wgsl");
const MARKS: &str = include_str!("../../../shaders/marks.wgsl");
const POINTS: &str = include_str!("../../../shaders/points.wgsl");
const LINES: &str = include_str!("../../../shaders/lines.wgsl");

const MARK_FORMATS: &[VertexFormat] = &[
    VertexFormat::Float32x3,
    VertexFormat::Float32,
    VertexFormat::Float32x3,
    VertexFormat::Float32,
    VertexFormat::Float32x3,
    VertexFormat::Float32,
    VertexFormat::Unorm8x4,
    VertexFormat::Uint32,
];
const POINT_FORMATS: &[VertexFormat] = &[
    VertexFormat::Float32x3,
    VertexFormat::Float32,
    VertexFormat::Unorm8x4,
    VertexFormat::Float32,
    VertexFormat::Uint32,
];
const LINE_FORMATS: &[VertexFormat] = &[
    VertexFormat::Float32x3,
    VertexFormat::Float32,
    VertexFormat::Float32x3,
    VertexFormat::Float32,
    VertexFormat::Unorm8x4,
    VertexFormat::Unorm8x4,
    VertexFormat::Uint32,
];

/// How a pipeline treats depth.
#[derive(Clone, Copy)]
enum Depth {
    /// Drawn over everything before it.
    Over,
    /// Hidden by what is in front.
    Tested,
    /// Hidden by what is in front, and hides what is behind.
    Written,
}

/// Everything that is made once per graphics device.
#[derive(Resource)]
pub(super) struct Pipelines {
    /// Marks over everything before them.
    pub marks: RenderPipeline,
    /// Points hide each other.
    pub points: RenderPipeline,
    /// Lines hidden by points.
    pub lines: RenderPipeline,
    /// Lines over everything before them.
    pub lines_over: RenderPipeline,
    /// Holds the [`ViewUniform`].
    pub uniform: Buffer,
    /// Binds it.
    pub bind_group: BindGroup,
}

impl FromWorld for Pipelines {
    fn from_world(world: &mut World) -> Self {
        let device = world.resource::<RenderDevice>();
        let entries = BindGroupLayoutEntries::single(
            ShaderStages::VERTEX_FRAGMENT,
            uniform_buffer_sized(false, std::num::NonZeroU64::new(size_of::<ViewUniform>() as u64)),
        );
        let bind_layout: BindGroupLayout = device.create_bind_group_layout("world view", &entries);
        let uniform = device.create_buffer(&BufferDescriptor {
            label: Some("world view uniform"),
            size: size_of::<ViewUniform>() as u64,
            usage: BufferUsages::UNIFORM | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let bind_group = device.create_bind_group(
            "world view",
            &bind_layout,
            &[BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() }],
        );
        let layout = device.create_pipeline_layout(&PipelineLayoutDescriptor {
            label: Some("world view"),
            bind_group_layouts: &[Some(&bind_layout)],
            immediate_size: 0,
        });
        let make = |label, source, formats, depth| pipeline(device, &layout, label, source, formats, depth);
        Self {
            marks: make("marks", MARKS, MARK_FORMATS, Depth::Over),
            points: make("points", POINTS, POINT_FORMATS, Depth::Written),
            lines: make("lines", LINES, LINE_FORMATS, Depth::Tested),
            lines_over: make("lines in front", LINES, LINE_FORMATS, Depth::Over),
            uniform,
            bind_group,
        }
    }
}

fn pipeline(
    device: &RenderDevice,
    layout: &PipelineLayout,
    label: &str,
    source: &str,
    formats: &[VertexFormat],
    depth: Depth,
) -> RenderPipeline {
    let module = device.create_and_validate_shader_module(ShaderModuleDescriptor {
        label: Some(label),
        source: ShaderSource::Wgsl(format!("{VIEW}\n{source}").into()),
    });
    let (attributes, stride) = attributes(formats);
    device.create_render_pipeline(&RawRenderPipelineDescriptor {
        label: Some(label),
        layout: Some(layout),
        vertex: RawVertexState {
            module: &module,
            entry_point: Some("vertex"),
            compilation_options: PipelineCompilationOptions::default(),
            buffers: &[RawVertexBufferLayout {
                array_stride: stride,
                step_mode: VertexStepMode::Instance,
                attributes: &attributes,
            }],
        },
        primitive: PrimitiveState { topology: PrimitiveTopology::TriangleStrip, ..Default::default() },
        depth_stencil: Some(DepthStencilState {
            format: DEPTH_FORMAT,
            depth_write_enabled: Some(matches!(depth, Depth::Written)),
            depth_compare: Some(match depth {
                Depth::Over => CompareFunction::Always,
                Depth::Tested | Depth::Written => CompareFunction::LessEqual,
            }),
            stencil: StencilState::default(),
            bias: DepthBiasState::default(),
        }),
        multisample: MultisampleState { count: SAMPLES, ..Default::default() },
        fragment: Some(RawFragmentState {
            module: &module,
            entry_point: Some("fragment"),
            compilation_options: PipelineCompilationOptions::default(),
            targets: &[Some(ColorTargetState {
                format: COLOR_FORMAT,
                blend: Some(BlendState::ALPHA_BLENDING),
                write_mask: ColorWrites::ALL,
            })],
        }),
        multiview_mask: None,
        cache: None,
    })
}

fn attributes(formats: &[VertexFormat]) -> (Vec<VertexAttribute>, u64) {
    let mut offset = 0;
    let attributes = (0..)
        .zip(formats)
        .map(|(shader_location, &format)| {
            let attribute = VertexAttribute { format, offset, shader_location };
            offset += format.size();
            attribute
        })
        .collect();
    (attributes, offset)
}

#[cfg(test)]
mod tests {
    use super::super::instances::{Line, Mark, Point};
    use super::*;

    #[test]
    fn strides_match_the_instances() {
        assert_eq!(attributes(MARK_FORMATS).1, size_of::<Mark>() as u64);
        assert_eq!(attributes(POINT_FORMATS).1, size_of::<Point>() as u64);
        assert_eq!(attributes(LINE_FORMATS).1, size_of::<Line>() as u64);
    }
}
