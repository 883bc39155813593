// Round points that face the camera, with a size in metres.

struct Point {
    @location(0) position: vec3<f32>,
    @location(1) radius: f32,
    @location(2) color: vec4<f32>,
    @location(3) certainty: f32,
    @location(4) layer: u32,
}

struct Varying {
    @builtin(position) position: vec4<f32>,
    @location(0) local: vec2<f32>,
    @location(1) color: vec3<f32>,
}

@vertex
fn vertex(@builtin(vertex_index) index: u32, point: Point) -> Varying {
    let local = vec2<f32>(f32(index & 1u) * 2.0 - 1.0, f32(index >> 1u) * 2.0 - 1.0);
    var out: Varying;
    out.local = local;
    out.color = linear_from_srgb(point.color.rgb);
    var position = view.clip_from_anchor * vec4<f32>(point.position, 1.0);
    let pixels = clamp(point.radius * view.pixels_per_metre / max(position.w, 1e-3), 0.9, 16.0);
    position = vec4<f32>(position.xy + local * pixels * 2.0 / view.viewport * position.w, position.zw);
    out.position = position;
    if !is_shown(point.layer, point.certainty) {
        out.position = HIDDEN;
    }
    return out;
}

@fragment
fn fragment(in: Varying) -> @location(0) vec4<f32> {
    if dot(in.local, in.local) > 1.0 {
        discard;
    }
    return vec4<f32>(in.color, 1.0);
}
