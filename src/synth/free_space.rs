//! A grid of where a person can stand, and shortest paths on it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use glam::Vec2;

use super::scene::SynthScene;

/// Side of a grid cell, metres.
const CELL: f32 = 0.1;

/// Free floor of a scene, limited to its largest connected part.
pub(super) struct FreeSpace {
    low: Vec2,
    width: usize,
    height: usize,
    free: Vec<bool>,
}

impl FreeSpace {
    /// The floor where a person of `radius` metres can stand; empty when there is none.
    pub(super) fn new(scene: &SynthScene, radius: f32) -> Self {
        let (low, high) = scene
            .rooms
            .iter()
            .map(super::scene::Room::bounds)
            .fold((Vec2::INFINITY, Vec2::NEG_INFINITY), |(low, high), (a, b)| (low.min(a), high.max(b)));
        let size = ((high - low) / CELL).ceil().max(Vec2::ZERO);
        let (width, height) = (size.x as usize, size.y as usize);
        let mut space = Self { low, width, height, free: Vec::new() };
        space.free = (0..width * height).map(|cell| scene.is_free(space.center(cell), radius)).collect();
        space.keep_largest_part();
        space
    }

    /// Middle of a cell, metres.
    pub(super) fn center(&self, cell: usize) -> Vec2 {
        self.low + Vec2::new((cell % self.width) as f32 + 0.5, (cell / self.width) as f32 + 0.5) * CELL
    }

    /// Free cells in order.
    pub(super) fn cells(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.free.len()).filter(|&cell| self.free[cell])
    }

    fn cell_at(&self, p: Vec2) -> Option<usize> {
        let index = ((p - self.low) / CELL).floor();
        let is_inside =
            index.cmpge(Vec2::ZERO).all() && index.x < self.width as f32 && index.y < self.height as f32;
        is_inside.then(|| index.y as usize * self.width + index.x as usize)
    }

    /// Whether the cell under `p` is free.
    pub(super) fn is_free(&self, p: Vec2) -> bool {
        self.cell_at(p).is_some_and(|cell| self.free[cell])
    }

    fn neighbours(&self, cell: usize) -> impl Iterator<Item = (usize, u32)> + '_ {
        let (x, y) = ((cell % self.width) as i32, (cell / self.width) as i32);
        [(1, 0, 10), (-1, 0, 10), (0, 1, 10), (0, -1, 10), (1, 1, 14), (1, -1, 14), (-1, 1, 14), (-1, -1, 14)]
            .into_iter()
            .filter_map(move |(dx, dy, cost)| {
                let (nx, ny) = (x + dx, y + dy);
                let is_inside = nx >= 0 && ny >= 0 && nx < self.width as i32 && ny < self.height as i32;
                let cell = is_inside.then(|| ny as usize * self.width + nx as usize)?;
                self.free[cell].then_some((cell, cost))
            })
    }

    fn keep_largest_part(&mut self) {
        let mut part_of = vec![0u32; self.free.len()];
        let (mut best, mut parts) = ((0usize, 0u32), 0u32);
        for start in 0..self.free.len() {
            if !self.free[start] || part_of[start] != 0 {
                continue;
            }
            parts += 1;
            let (mut stack, mut count) = (vec![start], 0usize);
            part_of[start] = parts;
            while let Some(cell) = stack.pop() {
                count += 1;
                for (next, _) in self.neighbours(cell) {
                    if part_of[next] == 0 {
                        part_of[next] = parts;
                        stack.push(next);
                    }
                }
            }
            best = best.max((count, parts));
        }
        for (free, part) in self.free.iter_mut().zip(part_of) {
            *free = *free && part == best.1;
        }
    }

    /// A shortest path (A*) between two free cells, both ends included; metres.
    pub(super) fn path(&self, from: usize, to: usize) -> Vec<Vec2> {
        let goal = self.center(to);
        let guess = |cell: usize| (self.center(cell).distance(goal) / CELL * 9.9) as u32;
        let mut cost = vec![u32::MAX; self.free.len()];
        let mut came_from = vec![usize::MAX; self.free.len()];
        let mut open = BinaryHeap::from([Reverse((guess(from), from))]);
        cost[from] = 0;
        while let Some(Reverse((_, cell))) = open.pop() {
            if cell == to {
                break;
            }
            for (next, step) in self.neighbours(cell) {
                let through = cost[cell] + step;
                if through < cost[next] {
                    cost[next] = through;
                    came_from[next] = cell;
                    open.push(Reverse((through + guess(next), next)));
                }
            }
        }
        let mut cells = vec![to];
        while let Some(&last) = cells.last()
            && came_from[last] != usize::MAX
        {
            cells.push(came_from[last]);
        }
        cells.reverse();
        self.straightened(cells.into_iter().map(|cell| self.center(cell)).collect())
    }

    /// Drops the points between which one can walk straight.
    fn straightened(&self, path: Vec<Vec2>) -> Vec<Vec2> {
        let mut kept = vec![path[0]];
        let mut current = 0;
        while current + 1 < path.len() {
            let reachable =
                (current + 1..path.len()).rev().find(|&next| self.is_straight(path[current], path[next]));
            current = reachable.unwrap_or(current + 1);
            kept.push(path[current]);
        }
        kept
    }

    fn is_straight(&self, a: Vec2, b: Vec2) -> bool {
        let steps = (a.distance(b) / (0.5 * CELL)).ceil().max(1.0) as usize;
        (0..=steps).all(|i| self.is_free(a.lerp(b, i as f32 / steps as f32)))
    }
}
