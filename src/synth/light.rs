//! Light on surfaces, the quick way: windows, lamps and an ambient term per room,
//! without shadows. Also the sky, and from light to pixels.

use glam::{Vec2, Vec3};

use super::scene::{Lighting, SynthScene};

/// A patch that gives off light.
#[derive(Debug, Clone, Copy)]
pub(super) struct Emitter {
    pub position: Vec3,
    /// Direction of a flat patch; zero for one that shines all around.
    pub normal: Vec3,
    /// Colour times strength times area.
    pub power: Vec3,
    /// Half the size, metres.
    pub radius: f32,
    /// Half width and half height of a flat patch, metres.
    pub extent: Vec2,
}

/// What lights a room.
#[derive(Debug, Clone, Default)]
pub(super) struct RoomLight {
    pub emitters: Vec<Emitter>,
    pub ambient: Vec3,
}

/// Colour of lamps between neutral and warm.
pub(super) fn lamp_color(lighting: &Lighting) -> Vec3 {
    Vec3::ONE.lerp(Vec3::new(1.0, 0.78, 0.52), lighting.warmth)
}

/// Sky colour in a direction (unit vector), linear RGB.
pub(super) fn sky(direction: Vec3, lighting: &Lighting) -> Vec3 {
    let zenith = Vec3::new(0.34, 0.56, 0.95);
    let horizon = Vec3::new(0.92, 0.95, 1.0);
    let height = direction.z.clamp(-1.0, 1.0);
    let color = if height >= 0.0 {
        horizon.lerp(zenith, (height * 1.6).min(1.0))
    } else {
        // Gardens and roofs below the horizon, hazy towards it.
        let ground = Vec3::new(0.3, 0.36, 0.22);
        horizon.lerp(ground, (-height * 7.0).min(1.0))
    };
    color * (0.55 + 0.75 * lighting.sky)
}

/// The lights of every room.
pub(super) fn room_lights(scene: &SynthScene) -> Vec<RoomLight> {
    let lighting = &scene.lighting;
    let mut rooms = vec![RoomLight::default(); scene.rooms.len()];
    for object in scene.objects() {
        let bounds = &object.bounds;
        let facing = bounds.yaw.direction();
        let inside = match object.category.as_str() {
            "window" => bounds.center.truncate() + facing * (bounds.size.x * 0.5 + 0.2),
            _ => bounds.center.truncate(),
        };
        let Some(room) = scene.room_of(inside) else { continue };
        let lamp = |strength: f32| Emitter {
            position: bounds.center - Vec3::Z * 0.1,
            normal: Vec3::ZERO,
            power: lamp_color(lighting) * lighting.lamps * strength,
            radius: bounds.size.z * 0.3,
            extent: Vec2::ZERO,
        };
        match object.category.as_str() {
            "window" => {
                let area = bounds.size.y * bounds.size.z;
                rooms[room].emitters.push(Emitter {
                    position: bounds.center,
                    normal: facing.extend(0.0),
                    power: Vec3::new(0.86, 0.94, 1.0) * lighting.sky * area * 1.3,
                    radius: 0.5 * area.sqrt(),
                    extent: Vec2::new(bounds.size.y, bounds.size.z) * 0.45,
                });
            }
            "ceiling lamp" => rooms[room].emitters.push(lamp(1.2)),
            "floor lamp" => rooms[room].emitters.push(lamp(0.5)),
            "lamp" => rooms[room].emitters.push(lamp(0.16)),
            _ => {}
        }
    }
    for (light, room) in rooms.iter_mut().zip(&scene.rooms) {
        let has_ceiling_light = light.emitters.iter().any(|e| e.position.z > 1.8 && e.normal == Vec3::ZERO);
        if !has_ceiling_light {
            // A flush fitting, so that no room is dark.
            light.emitters.push(Emitter {
                position: room.center().extend(room.height - 0.12),
                normal: Vec3::ZERO,
                power: lamp_color(lighting) * lighting.lamps * 0.9,
                radius: 0.25,
                extent: Vec2::ZERO,
            });
        }
        let total: Vec3 = light.emitters.iter().map(|e| e.power).sum();
        light.ambient = Vec3::splat(0.06) + total * (2.6 / (room.area() + 6.0));
    }
    rooms
}

/// Light arriving at a surface point without shadows.
pub(super) fn quick_irradiance(light: &RoomLight, p: Vec3, n: Vec3, room_height: f32) -> Vec3 {
    let mut sum = light.ambient * quick_occlusion(p, n, room_height);
    for emitter in &light.emitters {
        let towards = emitter.position - p;
        let squared = towards.length_squared();
        let direction = towards * squared.sqrt().recip();
        // Large sources also reach what looks a little away from them.
        let facing = ((n.dot(direction) + 0.12) / 1.12).max(0.0);
        let leaving =
            if emitter.normal == Vec3::ZERO { 0.8 } else { (-emitter.normal.dot(direction)).max(0.0) };
        sum += emitter.power * (facing * leaving / (squared + 0.35));
    }
    sum
}

/// Mean quick light on the floors, from which the exposure follows.
pub(super) fn quick_mean(scene: &SynthScene, lights: &[RoomLight]) -> f32 {
    let (mut sum, mut count) = (0.0, 0.0f32);
    for (room, light) in scene.rooms.iter().zip(lights) {
        let (low, high) = room.bounds();
        for i in 0..16 {
            let share = Vec2::new((i % 4) as f32 + 0.5, (i / 4) as f32 + 0.5) / 4.0;
            let point = (low + (high - low) * share).extend(0.0);
            sum += quick_irradiance(light, point, Vec3::Z, room.height).element_sum() / 3.0;
            count += 1.0;
        }
    }
    sum / count.max(1.0)
}

/// Darkens edges of the room and undersides.
fn quick_occlusion(p: Vec3, n: Vec3, room_height: f32) -> f32 {
    let edge = p.z.min(room_height - p.z).clamp(0.0, 0.6) / 0.6;
    let upright = 1.0 - n.z.abs();
    let corner = 1.0 - 0.3 * upright * (1.0 - edge) * (1.0 - edge);
    let underside = if n.z < -0.5 && p.z < room_height - 0.3 { 0.55 } else { 1.0 };
    corner * underside
}

/// From linear light to 8-bit sRGB through a soft shoulder.
pub(super) struct ToneCurve {
    table: Vec<u8>,
}

impl ToneCurve {
    const STEPS: usize = 4096;
    /// Light above this is white.
    const WHITE: f32 = 6.0;

    pub(super) fn new() -> Self {
        let table = (0..=Self::STEPS)
            .map(|i| {
                let root = i as f32 / Self::STEPS as f32;
                let x = root * root * Self::WHITE;
                let mapped = x * (1.0 + x / (Self::WHITE * Self::WHITE)) / (1.0 + x * 0.72);
                (mapped.clamp(0.0, 1.0).powf(1.0 / 2.2) * 255.0 + 0.5) as u8
            })
            .collect();
        Self { table }
    }

    pub(super) fn pixel(&self, light: Vec3) -> [u8; 3] {
        let root = (light * (1.0 / Self::WHITE)).clamp(Vec3::ZERO, Vec3::ONE).map(f32::sqrt);
        let index = root * Self::STEPS as f32 + 0.5;
        [index.x, index.y, index.z].map(|i| self.table[i as usize])
    }
}

/// Sub-pixel offsets in [0, 1)², the first in the middle.
pub(super) fn subpixels(count: u32) -> Vec<Vec2> {
    // The R2 sequence fills the square evenly for any count.
    (0..count.max(1))
        .map(|i| {
            let i = i as f32;
            Vec2::new((0.5 + i * 0.754_877_7).fract(), (0.5 + i * 0.569_840_3).fract())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tone_curve_rises_from_black_to_white() {
        let curve = ToneCurve::new();
        let values: Vec<u8> = (0..100).map(|i| curve.pixel(Vec3::splat(i as f32 * 0.06))[0]).collect();
        assert_eq!(values[0], 0);
        assert!(values.windows(2).all(|w| w[1] >= w[0]));
        assert!(values[99] > 245);
    }

    #[test]
    fn surfaces_facing_a_lamp_are_brighter() {
        let lamp = Emitter {
            position: Vec3::Z * 2.4,
            normal: Vec3::ZERO,
            power: Vec3::ONE,
            radius: 0.2,
            extent: Vec2::ZERO,
        };
        let light = RoomLight { emitters: vec![lamp], ambient: Vec3::splat(0.1) };
        let up = quick_irradiance(&light, Vec3::Z * 0.5, Vec3::Z, 2.5);
        let side = quick_irradiance(&light, Vec3::Z * 0.5, Vec3::X, 2.5);
        assert!(up.x > 2.0 * side.x);
    }
}
