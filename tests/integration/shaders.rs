//! Every shader parses and validates, as the app puts it together: the view first.

use std::path::Path;

use naga::valid::{Capabilities, ValidationFlags, Validator};

#[test]
fn every_shader_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let view = std::fs::read_to_string(folder.join("view.wgsl")).unwrap();
    let mut checked = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "view.wgsl" {
            continue;
        }
        let source = format!("{view}\n{}", std::fs::read_to_string(&path).unwrap());
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&source)));
        Validator::new(ValidationFlags::all(), Capabilities::default())
            .validate(&module)
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let entry_points: Vec<&str> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(entry_points, ["vertex", "fragment"], "{name}");
        checked.push(name);
    }
    checked.sort();
    assert_eq!(checked, ["lines.wgsl", "marks.wgsl", "points.wgsl"]);
}
