//! What people call the things in a room and what they do with them.

use glam::Vec3;

use crate::geometry::Orientation;
use crate::scene::{Category, SceneObject};
use crate::synth::CATEGORIES;

/// Names of a category in the order of commonness; the first is the one used in answers.
pub(in crate::synth) fn names(category: &Category) -> Vec<&str> {
    let synonyms: &[&str] = match category.as_str() {
        "sofa" => &["sofa", "couch"],
        "armchair" => &["armchair", "easy chair"],
        "table" => &["table", "dining table"],
        "desk" => &["desk", "writing desk"],
        "office chair" => &["office chair", "desk chair", "swivel chair"],
        "ottoman" => &["ottoman", "footrest"],
        "lamp" => &["lamp", "table lamp"],
        "floor lamp" => &["floor lamp", "standing lamp"],
        "ceiling lamp" => &["ceiling lamp", "ceiling light"],
        "plant" => &["plant", "potted plant", "houseplant"],
        "vase" => &["vase", "flower vase"],
        "tv" => &["TV", "television"],
        "tv stand" => &["TV stand", "media cabinet"],
        "monitor" => &["monitor", "computer monitor", "screen"],
        "laptop" => &["laptop", "notebook"],
        "fridge" => &["fridge", "refrigerator"],
        "stove" => &["stove", "cooker", "oven"],
        "microwave" => &["microwave", "microwave oven"],
        "bathtub" => &["bathtub", "tub"],
        "washing machine" => &["washing machine", "washer"],
        "wardrobe" => &["wardrobe", "closet"],
        "dresser" => &["dresser", "chest of drawers"],
        "cabinet" => &["cabinet", "cupboard"],
        "bookshelf" => &["bookshelf", "bookcase"],
        "nightstand" => &["nightstand", "bedside table"],
        "rug" => &["rug", "carpet"],
        "picture" => &["picture", "painting"],
        "clock" => &["clock", "wall clock"],
        "radiator" => &["radiator", "heater"],
        "bin" => &["bin", "trash can", "waste bin", "trash bin"],
        "pillow" => &["pillow", "cushion"],
        "box" => &["box", "cardboard box"],
        "backpack" => &["backpack", "rucksack"],
        "doorway" => &["doorway", "open door"],
        other => return vec![other],
    };
    synonyms.to_vec()
}

/// The generator's name of what people call `name`; `None` for what it does not furnish with.
pub fn category_called(name: &str) -> Option<&'static str> {
    let name = name.trim().to_lowercase();
    CATEGORIES
        .iter()
        .copied()
        .find(|category| names(&Category::new(category)).iter().any(|known| known.to_lowercase() == name))
}

/// What somebody does at a thing, as ("cooking at {}", "cook at {}"): the braces stand
/// for its name.
pub(in crate::synth) type Activity = (&'static str, &'static str);

/// What people do standing in front of a thing and facing it.
pub(in crate::synth) fn activities(category: &Category) -> &'static [Activity] {
    const WASHING: &[Activity] = &[
        ("washing my hands at {}", "wash your hands at {}"),
        ("using {}", "use {}"),
        ("bending over {}", "bend over {}"),
    ];
    match category.as_str() {
        "sink" => WASHING,
        "stove" => &[
            ("cooking at {}", "cook at {}"),
            ("cooking dinner on {}", "cook dinner on {}"),
            ("stirring a pot on {}", "stir a pot on {}"),
        ],
        "fridge" => &[
            ("getting a drink from {}", "get a drink from {}"),
            ("opening {}", "open {}"),
            ("looking for a snack in {}", "look for a snack in {}"),
        ],
        "bookshelf" | "shelf" => &[
            ("picking a book from {}", "pick a book from {}"),
            ("searching {} for something to read", "search {} for something to read"),
        ],
        "wardrobe" => &[
            ("taking clothes out of {}", "take clothes out of {}"),
            ("hanging a jacket in {}", "hang a jacket in {}"),
            ("opening {}", "open {}"),
        ],
        "dresser" | "cabinet" | "nightstand" => &[
            ("opening a drawer of {}", "open a drawer of {}"),
            ("taking something out of {}", "take something out of {}"),
            ("tidying up {}", "tidy up {}"),
        ],
        "washing machine" => &[("loading {}", "load {}"), ("putting laundry into {}", "put laundry into {}")],
        "mirror" => &[
            ("checking the way I look in {}", "check the way you look in {}"),
            ("looking into {}", "look into {}"),
        ],
        "window" => &[
            ("looking out of {}", "look out of {}"),
            ("enjoying the view through {}", "enjoy the view through {}"),
            ("opening {} for fresh air", "open {} for fresh air"),
        ],
        "whiteboard" => &[("writing on {}", "write on {}"), ("wiping {}", "wipe {}")],
        "picture" | "clock" => &[("looking closely at {}", "look closely at {}")],
        "bin" => &[("throwing something into {}", "throw something into {}"), ("emptying {}", "empty {}")],
        "plant" => &[("watering {}", "water {}")],
        "microwave" => &[("heating up food in {}", "heat up food in {}")],
        "bathtub" => &[("running a bath in {}", "run a bath in {}")],
        "door" | "doorway" => &[
            ("about to leave the room through {}", "get ready to leave the room through {}"),
            ("walking towards {} to go out", "walk towards {} to go out"),
        ],
        "tv" => &[("switching on {}", "switch on {}")],
        "bed" => &[("making {}", "make {}")],
        "table" => &[("wiping {}", "wipe {}"), ("setting {}", "set {}")],
        "desk" => &[("tidying up {}", "tidy up {}"), ("leaning over {}", "lean over {}")],
        _ => &[],
    }
}

/// Whether people sit on it.
pub(in crate::synth) fn is_seat(category: &Category) -> bool {
    matches!(
        category.as_str(),
        "sofa"
            | "couch"
            | "armchair"
            | "chair"
            | "office chair"
            | "stool"
            | "bench"
            | "ottoman"
            | "toilet"
            | "bed"
    )
}

/// Where the front of `object` faces, world space: its own +x, for doors the side of
/// `viewer`; `None` for things without a front.
pub fn front(object: &SceneObject, viewer: Vec3) -> Option<Orientation> {
    let yaw = object.bounds.yaw;
    if matches!(object.category.as_str(), "door" | "doorway") {
        let to_viewer = (viewer - object.bounds.center).truncate();
        let turn = if to_viewer.dot(yaw.direction()) < 0.0 { std::f32::consts::PI } else { 0.0 };
        return Some(yaw.turned(turn));
    }
    has_front(&object.category).then_some(yaw)
}

/// Whether its own +x side is where people stand in front of it.
pub(in crate::synth) fn has_front(category: &Category) -> bool {
    matches!(
        category.as_str(),
        "sofa"
            | "armchair"
            | "chair"
            | "office chair"
            | "bench"
            | "toilet"
            | "bed"
            | "desk"
            | "tv"
            | "tv stand"
            | "monitor"
            | "laptop"
            | "fridge"
            | "stove"
            | "microwave"
            | "sink"
            | "bathtub"
            | "washing machine"
            | "towel"
            | "wardrobe"
            | "dresser"
            | "cabinet"
            | "bookshelf"
            | "shelf"
            | "nightstand"
            | "picture"
            | "curtain"
            | "mirror"
            | "clock"
            | "whiteboard"
            | "radiator"
            | "door"
            | "window"
    )
}

/// Whether it lies flat on the floor or hangs from the ceiling: nobody stands beside it
/// and it is no answer to "what is on my left".
pub(in crate::synth) fn is_flat(category: &Category) -> bool {
    matches!(category.as_str(), "rug" | "ceiling lamp")
}

/// Plural of a noun phrase.
pub(in crate::synth) fn plural(noun: &str) -> String {
    let cut = |letters: usize| &noun[..noun.len() - letters];
    match noun {
        "chest of drawers" => "chests of drawers".to_owned(),
        _ if noun.ends_with("shelf") => format!("{}ves", cut(1)),
        _ if noun.ends_with(['x', 's']) || noun.ends_with("ch") || noun.ends_with("sh") => {
            format!("{noun}es")
        }
        _ => format!("{noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_of_furniture() {
        for (one, many) in [
            ("bookshelf", "bookshelves"),
            ("couch", "couches"),
            ("box", "boxes"),
            ("TV", "TVs"),
            ("office chair", "office chairs"),
            ("chest of drawers", "chests of drawers"),
        ] {
            assert_eq!(plural(one), many);
        }
    }

    #[test]
    fn things_are_found_by_any_of_their_names() {
        assert_eq!(category_called("Couch"), Some("sofa"));
        assert_eq!(category_called("trash bin"), Some("bin"));
        assert_eq!(category_called("door"), Some("door"));
        assert_eq!(category_called("guitar"), None);
    }

    #[test]
    fn unknown_categories_are_called_by_their_name() {
        let harp = Category::new("Harp");
        assert_eq!(names(&harp), ["harp"]);
        assert!(activities(&harp).is_empty());
        assert!(!has_front(&harp));
    }

    #[test]
    fn every_activity_names_its_thing_once() {
        for category in
            ["sink", "stove", "fridge", "bookshelf", "window", "bin", "bed", "desk", "tv", "mirror"]
        {
            for activity in activities(&Category::new(category)) {
                assert_eq!(activity.0.matches("{}").count(), 1, "{}", activity.0);
                assert_eq!(activity.1.matches("{}").count(), 1, "{}", activity.1);
            }
        }
    }
}
