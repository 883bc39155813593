// Flat marks lying anywhere in space: discs, rings and ellipses (SHAPE_RING), triangles
// (SHAPE_TRIANGLE). A mark is the image of [-1, 1]^2 under centre + x * u + y * v.

const SHAPE_TRIANGLE: f32 = 1.0;

struct Mark {
    @location(0) center: vec3<f32>,
    @location(1) shape: f32,
    @location(2) u: vec3<f32>,
    // Inner radius of a ring as a share of the outer one; 0 is a disc.
    @location(3) inner: f32,
    @location(4) v: vec3<f32>,
    @location(5) certainty: f32,
    @location(6) color: vec4<f32>,
    @location(7) layer: u32,
}

struct Varying {
    @builtin(position) position: vec4<f32>,
    @location(0) local: vec2<f32>,
    @location(1) color: vec4<f32>,
    @location(2) @interpolate(flat) shape: f32,
    @location(3) @interpolate(flat) inner: f32,
}

@vertex
fn vertex(@builtin(vertex_index) index: u32, mark: Mark) -> Varying {
    var local = vec2<f32>(f32(index & 1u) * 2.0 - 1.0, f32(index >> 1u) * 2.0 - 1.0);
    if mark.shape == SHAPE_TRIANGLE && local.y > 0.0 {
        local.x = 0.0;
    }
    var out: Varying;
    out.local = local;
    out.color = vec4<f32>(linear_from_srgb(mark.color.rgb), mark.color.a);
    out.shape = mark.shape;
    out.inner = mark.inner;
    let point = mark.center + mark.u * local.x + mark.v * local.y;
    out.position = view.clip_from_anchor * vec4<f32>(point, 1.0);
    if !is_shown(mark.layer, mark.certainty) {
        out.position = HIDDEN;
    }
    return out;
}

@fragment
fn fragment(in: Varying) -> @location(0) vec4<f32> {
    let radius = length(in.local);
    let soft = max(fwidth(radius), 1e-4);
    var cover = 1.0;
    if in.shape != SHAPE_TRIANGLE {
        cover = clamp((1.0 - radius) / soft, 0.0, 1.0);
        if in.inner > 0.0 {
            // A ring never gets thinner than a pixel and a half.
            let inner = min(in.inner, 1.0 - 1.5 * soft);
            cover *= clamp((radius - inner) / soft + 0.5, 0.0, 1.0);
        }
    }
    if cover <= 0.0 {
        discard;
    }
    return vec4<f32>(in.color.rgb, in.color.a * cover);
}
