//! A bounding volume hierarchy over solids: for single rays, and for the
//! pyramids of image tiles.

use glam::Vec3;

/// Most solids in a leaf.
const LEAF: usize = 3;

/// An axis-parallel box, world space, metres.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub low: Vec3,
    pub high: Vec3,
}

impl Extent {
    const EMPTY: Self = Self { low: Vec3::INFINITY, high: Vec3::NEG_INFINITY };

    fn joined(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// Entry of a ray given by origin and reciprocal direction, if before `far`.
    fn enter(&self, origin: Vec3, inverse: Vec3, far: f32) -> Option<f32> {
        let (a, b) = ((self.low - origin) * inverse, (self.high - origin) * inverse);
        let enter = a.min(b).max_element().max(0.0);
        let exit = a.max(b).min_element();
        (enter <= exit && enter < far).then_some(enter)
    }

    /// The corner farthest along `direction`.
    fn farthest(&self, direction: Vec3) -> Vec3 {
        Vec3::select(direction.cmpge(Vec3::ZERO), self.high, self.low)
    }

    /// The corner nearest along `direction`.
    pub(super) fn nearest(&self, direction: Vec3) -> Vec3 {
        Vec3::select(direction.cmpge(Vec3::ZERO), self.low, self.high)
    }
}

#[derive(Debug, Clone, Copy)]
struct Node {
    extent: Extent,
    /// Leaf: first entry of `order`. Inner: index of the second child (the first follows).
    first: u32,
    /// Number of entries of a leaf; 0 for an inner node.
    count: u32,
}

/// The hierarchy; leaves name solids by index.
#[derive(Debug, Clone)]
pub(super) struct Bvh {
    nodes: Vec<Node>,
    order: Vec<u32>,
}

impl Bvh {
    pub(super) fn new(extents: &[Extent]) -> Self {
        let mut bvh = Self { nodes: Vec::new(), order: (0..extents.len() as u32).collect() };
        if !extents.is_empty() {
            bvh.build(extents, 0, extents.len());
        }
        bvh
    }

    fn build(&mut self, extents: &[Extent], from: usize, to: usize) {
        let extent =
            self.order[from..to].iter().fold(Extent::EMPTY, |sum, &i| sum.joined(extents[i as usize]));
        let index = self.nodes.len();
        self.nodes.push(Node { extent, first: from as u32, count: (to - from) as u32 });
        if to - from <= LEAF {
            return;
        }
        let middle = |i: u32| extents[i as usize].low + extents[i as usize].high;
        let (low, high) = self.order[from..to]
            .iter()
            .fold((Vec3::INFINITY, Vec3::NEG_INFINITY), |(l, h), &i| (l.min(middle(i)), h.max(middle(i))));
        let spread = high - low;
        let axis = if spread.x >= spread.y && spread.x >= spread.z {
            0
        } else if spread.y >= spread.z {
            1
        } else {
            2
        };
        self.order[from..to].sort_by(|&a, &b| middle(a)[axis].total_cmp(&middle(b)[axis]).then(a.cmp(&b)));
        let split = self.cheapest_split(extents, from, to);
        self.build(extents, from, split);
        let second = self.nodes.len() as u32;
        self.build(extents, split, to);
        self.nodes[index] = Node { extent, first: second, count: 0 };
    }

    /// The split of a sorted range with the least expected work (surface area heuristic).
    fn cheapest_split(&self, extents: &[Extent], from: usize, to: usize) -> usize {
        let area = |e: &Extent| {
            let s = e.high - e.low;
            s.x * s.y + s.y * s.z + s.z * s.x
        };
        let count = to - from;
        let mut right = vec![0.0; count];
        let mut sum = Extent::EMPTY;
        for i in (1..count).rev() {
            sum = sum.joined(extents[self.order[from + i] as usize]);
            right[i] = area(&sum) * (count - i) as f32;
        }
        let (mut best, mut split) = (f32::INFINITY, count / 2);
        let mut sum = Extent::EMPTY;
        for i in 1..count {
            sum = sum.joined(extents[self.order[from + i - 1] as usize]);
            let cost = area(&sum) * i as f32 + right[i];
            if cost < best {
                (best, split) = (cost, i);
            }
        }
        from + split
    }

    /// Visits solids whose box the ray may meet before `far`; `visit` returns the new `far`.
    pub(super) fn along_ray(
        &self,
        origin: Vec3,
        direction: Vec3,
        far: f32,
        mut visit: impl FnMut(u32, f32) -> f32,
    ) {
        let inverse = direction.recip();
        let mut far = far;
        let mut stack = [0u32; 48];
        let mut depth = usize::from(!self.nodes.is_empty());
        while depth > 0 {
            depth -= 1;
            let index = stack[depth] as usize;
            let node = &self.nodes[index];
            if node.extent.enter(origin, inverse, far).is_none() {
                continue;
            }
            if node.count > 0 {
                for &solid in &self.order[node.first as usize..(node.first + node.count) as usize] {
                    far = visit(solid, far);
                }
                continue;
            }
            let (a, b) = (index as u32 + 1, node.first);
            let enter = |i: u32| self.nodes[i as usize].extent.enter(origin, inverse, far);
            // The nearer child goes on top of the stack.
            let (near, other) = match (enter(a), enter(b)) {
                (Some(ta), Some(tb)) if tb < ta => (Some(b), Some(a)),
                (Some(_), Some(_)) => (Some(a), Some(b)),
                (Some(_), None) => (Some(a), None),
                (None, second) => (second.map(|_| b), None),
            };
            for child in [other, near].into_iter().flatten() {
                if depth < stack.len() {
                    stack[depth] = child;
                    depth += 1;
                }
            }
        }
    }

    /// Visits solids whose box holds the point.
    pub(super) fn at_point(&self, point: Vec3, visit: impl FnMut(u32)) {
        self.descend(|extent| point.cmpge(extent.low).all() && point.cmple(extent.high).all(), visit);
    }

    /// Visits solids whose box touches the pyramid from `apex` bounded by the planes
    /// through it with these inward normals.
    pub(super) fn in_pyramid(&self, apex: Vec3, inward: &[Vec3], visit: impl FnMut(u32)) {
        self.descend(|extent| inward.iter().all(|&n| (extent.farthest(n) - apex).dot(n) >= 0.0), visit);
    }

    /// Visits the solids of every leaf that `touches` all the way down.
    fn descend(&self, touches: impl Fn(&Extent) -> bool, mut visit: impl FnMut(u32)) {
        let mut stack = vec![0usize; usize::from(!self.nodes.is_empty())];
        while let Some(index) = stack.pop() {
            let node = &self.nodes[index];
            if !touches(&node.extent) {
                continue;
            }
            if node.count == 0 {
                stack.extend([node.first as usize, index + 1]);
                continue;
            }
            self.order[node.first as usize..(node.first + node.count) as usize]
                .iter()
                .for_each(|&solid| visit(solid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::seeding::lattice_unit;

    fn boxes(count: i32) -> Vec<Extent> {
        let r = |i, k| lattice_unit(i, k, 0, 5);
        (0..count)
            .map(|i| {
                let low = Vec3::new(r(i, 0), r(i, 1), r(i, 2)) * 10.0;
                Extent { low, high: low + Vec3::splat(0.2 + r(i, 3)) }
            })
            .collect()
    }

    #[test]
    fn a_ray_visits_every_box_it_meets() {
        let extents = boxes(200);
        let bvh = Bvh::new(&extents);
        for i in 0..300 {
            let r = |k| lattice_unit(i, k, 9, 6);
            let origin = Vec3::new(r(0), r(1), r(2)) * 10.0;
            let direction = Vec3::new(r(3) - 0.5, r(4) - 0.5, r(5) - 0.5);
            let mut visited = vec![false; extents.len()];
            bvh.along_ray(origin, direction, 1e9, |solid, far| {
                visited[solid as usize] = true;
                far
            });
            for (extent, seen) in extents.iter().zip(visited) {
                assert!(seen || extent.enter(origin, direction.recip(), 1e9).is_none());
            }
        }
    }
}
