// Line segments with a width in points of the user interface.

struct Line {
    @location(0) start: vec3<f32>,
    @location(1) width: f32,
    @location(2) end: vec3<f32>,
    @location(3) certainty: f32,
    @location(4) start_color: vec4<f32>,
    @location(5) end_color: vec4<f32>,
    @location(6) layer: u32,
}

struct Varying {
    @builtin(position) position: vec4<f32>,
    @location(0) color: vec4<f32>,
}

const NEAR: f32 = 0.02;

// Moves `point` along the segment to the near plane when it lies behind the camera.
fn in_front(point: vec4<f32>, other: vec4<f32>) -> vec4<f32> {
    if point.w >= NEAR {
        return point;
    }
    let t = clamp((NEAR - point.w) / max(other.w - point.w, 1e-6), 0.0, 1.0);
    return mix(point, other, t);
}

@vertex
fn vertex(@builtin(vertex_index) index: u32, line: Line) -> Varying {
    let at_end = (index & 1u) == 1u;
    let side = f32(index >> 1u) * 2.0 - 1.0;
    let start = view.clip_from_anchor * vec4<f32>(line.start, 1.0);
    let end = view.clip_from_anchor * vec4<f32>(line.end, 1.0);
    let a = in_front(start, end);
    let b = in_front(end, start);
    let direction = (b.xy / b.w - a.xy / a.w) * view.viewport;
    let unit = direction / max(length(direction), 1e-4);
    let normal = vec2<f32>(-unit.y, unit.x);
    let width = max(line.width * view.pixels_per_point, 1.0);
    let position = select(a, b, at_end);

    var out: Varying;
    let color = select(line.start_color, line.end_color, at_end);
    out.color = vec4<f32>(linear_from_srgb(color.rgb), color.a);
    out.position = vec4<f32>(position.xy + normal * side * width / view.viewport * position.w, position.zw);
    if !is_shown(line.layer, line.certainty) || (start.w < NEAR && end.w < NEAR) {
        out.position = HIDDEN;
    }
    return out;
}

@fragment
fn fragment(in: Varying) -> @location(0) vec4<f32> {
    return in.color;
}
