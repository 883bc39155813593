// The camera of the 3D view and its filters; prepended to every shader here.
// World positions are metres in the anchor space (x right, y forward, z up).

struct View {
    clip_from_anchor: mat4x4<f32>,
    // Size of the picture in pixels.
    viewport: vec2<f32>,
    // Pixels per metre at distance 1 from the camera.
    pixels_per_metre: f32,
    // Instances below this certainty (0 to 1) are hidden.
    min_certainty: f32,
    // One bit per layer.
    layers: u32,
    // Physical pixels per point of the user interface.
    pixels_per_point: f32,
}

@group(0) @binding(0) var<uniform> view: View;

// Outside the clip volume: the instance disappears.
const HIDDEN: vec4<f32> = vec4<f32>(2.0, 2.0, 2.0, 1.0);

fn is_shown(layer: u32, certainty: f32) -> bool {
    return (view.layers & layer) != 0u && certainty >= view.min_certainty;
}

// Colours come in as sRGB and are blended as linear light.
fn linear_from_srgb(srgb: vec3<f32>) -> vec3<f32> {
    let low = srgb / 12.92;
    let high = pow((srgb + 0.055) / 1.055, vec3<f32>(2.4));
    return select(high, low, srgb <= vec3<f32>(0.04045));
}
