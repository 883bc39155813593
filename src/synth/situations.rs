//! Situations in words with exact truth: a pose is drawn, worded in several
//! ways, and every wording is kept only if no other pose of the scene fits it.
//!
//! A wording fits all poses that its nouns allow ("the chair" fits every chair);
//! it is unambiguous when these lie within 0.6 m and 30° of the truth.

use std::f32::consts::FRAC_PI_2;

use glam::Vec2;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::phrasing::{Referent, Text, Voice, has_front, is_flat, is_seat, mistyped, refer, slipped};
use super::questions::{Pose, QuestionOptions, QuestionScene, strange};
use crate::geometry::Orientation;
use crate::qa::Side;

mod clauses;
mod everyday;
mod wording;

/// Where somebody is, relative to one or two objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Sitting or lying on a seat.
    On,
    /// Sitting on whatever stands at a desk.
    At,
    /// Standing in front of a thing.
    Front,
    /// Standing at one side of a thing.
    Beside,
    /// Standing in the gap between two things.
    Between,
    /// One step inside a door.
    Entering,
    /// In the middle of the only room.
    Middle,
}

/// Where somebody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The way the place suggests: the front of a seat, into the room from its door.
    Own,
    /// At the thing that names the place.
    Anchor,
    /// Away from it.
    Away,
    /// At another object.
    Object,
    /// Across the gap: the first object on the left, the second on the right.
    Across,
}

/// A further remark on what is where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CueKind {
    Side(Side),
    Clock(u8),
}

#[derive(Debug, Clone)]
struct Cue {
    kind: CueKind,
    referent: Referent,
}

/// A pose with what it takes to say it.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    place: Place,
    look: Look,
    /// Objects that name the place; equal for places with one object.
    anchors: [usize; 2],
    /// The object looked at.
    target: Option<usize>,
    /// Distance between a thing and who stands at it, metres.
    reach: f32,
    pose: Pose,
}

/// A situation with all its wordings.
#[derive(Debug, Clone)]
pub(super) struct WordedSituation {
    /// Truth, world space.
    pub(super) pose: Pose,
    /// Wordings of the same pose, at least one.
    pub(super) texts: Vec<Text>,
    /// Objects whose direction some wording gives away.
    pub(super) told: Vec<usize>,
    /// What the person sits or lies on.
    pub(super) seat: Option<usize>,
}

const SAME_PLACE: f32 = 0.6;
const SAME_HEADING: f32 = 30.0 / 180.0 * std::f32::consts::PI;
/// Farthest object a person names to say where they are, metres.
const CUE_RANGE: f32 = 4.5;

/// Draws a situation and words it in as many ways as `options` want, at most; `None` when
/// this draw has no unambiguous words.
pub(super) fn draw(
    scene: &QuestionScene<'_>,
    options: &QuestionOptions,
    rng: &mut ChaCha8Rng,
) -> Option<WordedSituation> {
    let QuestionOptions { wordings, typo_rate, everyday, .. } = *options;
    let drawn = draw_pose(scene, rng)?;
    let mut told = Vec::new();
    let mut texts: Vec<Text> = Vec::new();
    for attempt in 0..4 + 3 * wordings {
        if texts.len() >= wordings {
            break;
        }
        let is_everyday = everyday > 0.0 && rng.random_bool(everyday);
        let Some((text, named)) = word(scene, &drawn, attempt, is_everyday, rng) else { continue };
        if texts.iter().any(|other| other.words == text.words) {
            continue;
        }
        told.extend(named);
        let slip: fn(&Text, &mut ChaCha8Rng) -> Text = if is_everyday { slipped } else { mistyped };
        let text = if rng.random_bool(typo_rate) { slip(&text, rng) } else { text };
        texts.push(strange(text, options, rng));
    }
    let seat = match drawn.place {
        Place::On => Some(drawn.anchors[0]),
        Place::At => (0..scene.objects.len())
            .find(|&i| is_seat(&scene.objects[i].category) && scene.gap(drawn.pose.position, i) <= 0.05),
        _ => None,
    };
    (!texts.is_empty()).then_some(WordedSituation { pose: drawn.pose, texts, told, seat })
}

fn draw_pose(scene: &QuestionScene<'_>, rng: &mut ChaCha8Rng) -> Option<Drawn> {
    let count = scene.objects.len();
    let place = match rng.random_range(0..100) {
        0..=21 => Place::On,
        22..=27 => Place::At,
        28..=59 => Place::Front,
        60..=73 => Place::Beside,
        74..=84 => Place::Between,
        85..=95 => Place::Entering,
        _ => Place::Middle,
    };
    let able: Vec<usize> = (0..count).filter(|&i| scene.seen(i) && can_anchor(scene, place, i)).collect();
    let first = salient(scene, &able, rng)?;
    let second = if place == Place::Between {
        let near = |i: &usize| *i != first && scene.gap(scene.center(first), *i) < 3.0;
        salient(scene, &able.iter().copied().filter(near).collect::<Vec<_>>(), rng)?
    } else {
        first
    };
    let reach = rng.random_range(0.4..0.65);
    let (position, own) = *stands(scene, place, first, second, reach).choose(rng)?;
    let look = match place {
        Place::On if own.is_some() && rng.random_bool(0.5) => Look::Own,
        Place::Entering => Look::Own,
        Place::At => Look::Anchor,
        Place::Front => match rng.random_range(0..10) {
            0..=5 => Look::Anchor,
            6..=7 => Look::Away,
            _ => Look::Object,
        },
        Place::Between if rng.random_bool(0.4) => Look::Across,
        _ => Look::Object,
    };
    let target = if look == Look::Object {
        Some(draw_target(scene, place, position, own, [first, second], rng)?)
    } else {
        None
    };
    let heading =
        headings(scene, look, position, own, [first, second], target.as_slice()).first().copied()?;
    Some(Drawn { place, look, anchors: [first, second], target, reach, pose: Pose { position, heading } })
}

/// Something worth looking at from `position`.
fn draw_target(
    scene: &QuestionScene<'_>,
    place: Place,
    position: Vec2,
    own: Option<Orientation>,
    anchors: [usize; 2],
    rng: &mut ChaCha8Rng,
) -> Option<usize> {
    let fits = |i: &usize| {
        let object = &scene.objects[*i];
        let direction = Orientation::from_direction(scene.center(*i) - position);
        let turned = |limit: f32, from: Option<Orientation>| match (from, direction) {
            (Some(from), Some(to)) => from.distance(to) <= limit,
            _ => true,
        };
        let to_anchor = Orientation::from_direction(scene.center(anchors[0]) - position);
        !anchors.contains(i)
            && scene.seen(*i)
            && !is_flat(&object.category)
            && scene.same_room(position, *i)
            && (0.5..6.0).contains(&scene.gap(position, *i))
            && (place != Place::On || turned(0.9, own))
            && (place != Place::Front || !turned(0.7, to_anchor))
    };
    salient(scene, &(0..scene.objects.len()).filter(fits).collect::<Vec<_>>(), rng)
}

/// One of `objects`, more likely one that stands out.
fn salient(scene: &QuestionScene<'_>, objects: &[usize], rng: &mut ChaCha8Rng) -> Option<usize> {
    objects.choose_weighted(rng, |&object| scene.salience(object)).ok().copied()
}

fn can_anchor(scene: &QuestionScene<'_>, place: Place, object: usize) -> bool {
    let category = &scene.objects[object].category;
    let name = category.as_str();
    let bounds = &scene.objects[object].bounds;
    let door = matches!(name, "door" | "doorway");
    match place {
        Place::On => is_seat(category),
        Place::At => matches!(name, "desk" | "table"),
        Place::Entering => door,
        Place::Front => !is_flat(category) && (door || has_front(category) || compact(scene, object)),
        Place::Beside | Place::Between => !is_flat(category) && !door && bounds.bottom() < 0.5,
        Place::Middle => true,
    }
}

/// Small enough that "in front of it" hardly depends on the side.
fn compact(scene: &QuestionScene<'_>, object: usize) -> bool {
    scene.objects[object].bounds.size.truncate().max_element() <= 1.0
}

/// Possible standing points of a place with the heading it suggests.
fn stands(
    scene: &QuestionScene<'_>,
    place: Place,
    first: usize,
    second: usize,
    reach: f32,
) -> Vec<(Vec2, Option<Orientation>)> {
    let object = &scene.objects[first];
    let (center, yaw) = (scene.center(first), object.bounds.yaw);
    let fronted = has_front(&object.category);
    match place {
        Place::On => vec![(center, fronted.then_some(yaw))],
        Place::At => seats_at(scene, first).into_iter().map(|seat| (seat, None)).collect(),
        Place::Middle => match scene.rooms.as_slice() {
            [room] => middle(room).into_iter().filter(|p| (scene.free)(*p)).map(|p| (p, None)).collect(),
            _ => Vec::new(),
        },
        Place::Between => between(scene, first, second).into_iter().map(|p| (p, None)).collect(),
        Place::Front | Place::Beside | Place::Entering => {
            let door = matches!(object.category.as_str(), "door" | "doorway");
            let sides: &[f32] = match place {
                _ if door => &[0.0, 2.0],
                Place::Front if fronted => &[0.0],
                Place::Beside if fronted => &[1.0, -1.0],
                _ => &[0.0, 1.0, 2.0, -1.0],
            };
            sides
                .iter()
                .map(|quarter| yaw.turned(quarter * FRAC_PI_2))
                .map(|outward| {
                    let along = if outward.direction().dot(yaw.direction()).abs() > 0.5 {
                        object.bounds.size.x
                    } else {
                        object.bounds.size.y
                    };
                    (center + outward.direction() * (0.5 * along + reach), Some(outward))
                })
                .filter(|(point, _)| (scene.free)(*point) && scene.same_room(*point, first))
                .collect()
        }
    }
}

/// Seats that stand at a table, at its front or around it.
fn seats_at(scene: &QuestionScene<'_>, table: usize) -> Vec<Vec2> {
    (0..scene.objects.len())
        .filter(|&i| {
            let name = scene.objects[i].category.as_str();
            matches!(name, "chair" | "office chair" | "stool") && scene.gap(scene.center(i), table) < 0.6
        })
        .map(|i| scene.center(i))
        .collect()
}

fn middle(room: &[Vec2]) -> Option<Vec2> {
    let (min, max) =
        room.iter().fold((Vec2::INFINITY, Vec2::NEG_INFINITY), |(a, b), p| (a.min(*p), b.max(*p)));
    (!room.is_empty()).then(|| (min + max) * 0.5)
}

/// The point half way across the gap between two objects.
fn between(scene: &QuestionScene<'_>, first: usize, second: usize) -> Option<Vec2> {
    const STEPS: usize = 40;
    let (a, b) = (scene.center(first), scene.center(second));
    let point = (0..=STEPS).map(|i| a.lerp(b, i as f32 / STEPS as f32)).min_by(|p, q| {
        let skew = |p: &Vec2| (scene.gap(*p, first) - scene.gap(*p, second)).abs();
        skew(p).total_cmp(&skew(q))
    })?;
    let wide = (0.25..1.4).contains(&scene.gap(point, first));
    (first != second
        && wide
        && (scene.free)(point)
        && scene.same_room(point, first)
        && scene.same_room(point, second))
    .then_some(point)
}

/// Headings that a look allows at `position`; one per target for [`Look::Object`].
fn headings(
    scene: &QuestionScene<'_>,
    look: Look,
    position: Vec2,
    own: Option<Orientation>,
    anchors: [usize; 2],
    targets: &[usize],
) -> Vec<Orientation> {
    let toward = |i: usize| Orientation::from_direction(scene.center(i) - position);
    match look {
        Look::Own => own.into_iter().collect(),
        Look::Anchor | Look::Away => {
            let object = &scene.objects[anchors[0]];
            let across = own.map(|outward| outward.turned(std::f32::consts::PI));
            // At a long thing people face it squarely; a small one is faced at its centre.
            let squarely = if object.bounds.size.truncate().max_element() > 0.5 { across } else { None };
            let facing = squarely.or_else(|| toward(anchors[0]));
            let turn = if look == Look::Away { std::f32::consts::PI } else { 0.0 };
            facing.map(|heading| heading.turned(turn)).into_iter().collect()
        }
        Look::Object => targets.iter().filter_map(|&i| toward(i)).collect(),
        Look::Across => Orientation::from_direction(scene.center(anchors[0]) - scene.center(anchors[1]))
            .map(|to_first| to_first.turned(-FRAC_PI_2))
            .into_iter()
            .collect(),
    }
}

/// All poses that fit the words.
fn fitting(
    scene: &QuestionScene<'_>,
    drawn: &Drawn,
    anchors: &[Referent; 2],
    target: Option<&Referent>,
    cues: &[Cue],
) -> Vec<Pose> {
    let mut poses = Vec::new();
    let seconds: &[usize] = if drawn.place == Place::Between { &anchors[1].matches } else { &[usize::MAX] };
    let targets = target.map_or(&[][..], |t| t.matches.as_slice());
    for &first in &anchors[0].matches {
        for &second in seconds {
            let second = if second == usize::MAX { first } else { second };
            for (position, own) in stands(scene, drawn.place, first, second, drawn.reach) {
                for heading in headings(scene, drawn.look, position, own, [first, second], targets) {
                    let pose = Pose { position, heading };
                    if cues.iter().all(|cue| holds(scene, &pose, cue)) {
                        poses.push(pose);
                    }
                }
            }
        }
    }
    poses
}

/// Whether a reader at `pose` would agree with the cue.
fn holds(scene: &QuestionScene<'_>, pose: &Pose, cue: &Cue) -> bool {
    cue.referent.matches.iter().any(|&i| {
        let bearing = scene.bearing(pose, i);
        let fits = match cue.kind {
            CueKind::Side(side) => bearing.off_side(side) <= 1.0,
            CueKind::Clock(hour) => {
                let off = (i32::from(bearing.clock()) - i32::from(hour)).rem_euclid(12);
                matches!(off, 0 | 1 | 11)
            }
        };
        fits && scene.same_room(pose.position, i) && scene.gap(pose.position, i) <= CUE_RANGE + 1.0
    })
}

/// One unambiguous wording and the objects it locates.
fn word(
    scene: &QuestionScene<'_>,
    drawn: &Drawn,
    attempt: usize,
    is_everyday: bool,
    rng: &mut ChaCha8Rng,
) -> Option<(Text, Vec<usize>)> {
    let name = |object: usize, rng: &mut ChaCha8Rng| {
        let colored = rng.random_bool(if scene.is_single(object) { 0.25 } else { 0.75 });
        let referent = refer(&scene.objects, object, colored, rng);
        // Mostly to tell a thing from others like it, but people say such, too, of what is alone.
        let share = if referent.matches.len() > 1 { 0.5 } else { 0.08 };
        if is_everyday && rng.random_bool(share) {
            clauses::told_apart(scene, referent, rng)
        } else {
            referent
        }
    };
    let anchors = [name(drawn.anchors[0], rng), name(drawn.anchors[1], rng)];
    let target = drawn.target.map(|object| name(object, rng));
    // Later attempts say more.
    let wanted = (rng.random_range(0..10) / 7 + attempt / 3).min(2);
    let mut cues = Vec::new();
    let mut used: Vec<usize> = drawn.anchors.iter().copied().chain(drawn.target).collect();
    for _ in 0..wanted {
        let Some((kind, object)) = draw_cue(scene, &drawn.pose, &used, rng) else { break };
        used.push(object);
        cues.push(Cue { kind, referent: name(object, rng) });
    }
    let places = if drawn.place == Place::Between { &anchors[..] } else { &anchors[..1] };
    if repeats(places.iter().chain(&target).chain(cues.iter().map(|cue| &cue.referent))) {
        return None;
    }
    let fits = fitting(scene, drawn, &anchors, target.as_ref(), &cues);
    let same = |pose: &Pose| {
        pose.position.distance(drawn.pose.position) <= SAME_PLACE
            && pose.heading.distance(drawn.pose.heading) <= SAME_HEADING
    };
    if fits.is_empty() || !fits.iter().all(same) {
        return None;
    }
    let text = if is_everyday {
        everyday::compose(scene, drawn, &anchors, target.as_ref(), &cues, rng)
    } else {
        wording::compose(scene, drawn, &anchors, target.as_ref(), &cues, Voice::random(rng), rng)
    };
    Some((text, used))
}

/// Whether two different things go by the same words.
fn repeats<'r>(named: impl Iterator<Item = &'r Referent>) -> bool {
    let mut words: Vec<String> = named.map(Referent::words).collect();
    let count = words.len();
    words.sort();
    words.dedup();
    words.len() < count
}

/// A remark that is certainly true at `pose` about an object not used yet.
fn draw_cue(
    scene: &QuestionScene<'_>,
    pose: &Pose,
    used: &[usize],
    rng: &mut ChaCha8Rng,
) -> Option<(CueKind, usize)> {
    let able: Vec<(CueKind, usize)> = (0..scene.objects.len())
        .filter(|i| !used.contains(i) && scene.seen(*i) && !is_flat(&scene.objects[*i].category))
        .filter(|&i| {
            scene.same_room(pose.position, i) && (0.2..CUE_RANGE).contains(&scene.gap(pose.position, i))
        })
        .filter_map(|i| {
            let bearing = scene.bearing(pose, i);
            let square = bearing.off_side(bearing.side()) <= 0.55;
            let clock = rng.random_bool(0.12) || !square;
            let kind = if clock { CueKind::Clock(bearing.clock()) } else { CueKind::Side(bearing.side()) };
            (square || rng.random_bool(0.3)).then_some((kind, i))
        })
        .collect();
    able.choose_weighted(rng, |(_, object)| scene.salience(*object)).ok().copied()
}
