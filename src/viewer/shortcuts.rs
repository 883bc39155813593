//! Keys: one table from key to action, also shown as the map of keys.

use bevy_egui::egui::{Context, Key, Modifiers};

use super::action::ViewerAction;
use super::playback::PlaybackClock;
use super::workbench::{CameraMode, Workbench};

/// A key with what it does.
pub struct Shortcut {
    /// Name of the key on screen.
    pub keys: &'static str,
    /// What it does, in a few words.
    pub does: &'static str,
    key: Key,
    modifiers: Modifiers,
    action: fn(&Workbench, &PlaybackClock) -> ViewerAction,
}

impl std::fmt::Debug for Shortcut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.keys, self.does)
    }
}

const fn plain(
    keys: &'static str,
    key: Key,
    does: &'static str,
    action: fn(&Workbench, &PlaybackClock) -> ViewerAction,
) -> Shortcut {
    Shortcut { keys, does, key, modifiers: Modifiers::NONE, action }
}

const fn command(
    keys: &'static str,
    key: Key,
    does: &'static str,
    action: fn(&Workbench, &PlaybackClock) -> ViewerAction,
) -> Shortcut {
    Shortcut { keys, does, key, modifiers: Modifiers::COMMAND, action }
}

/// All keys, in the order of the map of keys.
pub const SHORTCUTS: [Shortcut; 29] = [
    plain("Space", Key::Space, "play or pause", |_, _| ViewerAction::TogglePlay),
    plain("K", Key::K, "play or pause", |_, _| ViewerAction::TogglePlay),
    plain("←", Key::ArrowLeft, "one frame back", |_, _| ViewerAction::Step(-1)),
    plain("→", Key::ArrowRight, "one frame on", |_, _| ViewerAction::Step(1)),
    plain(",", Key::Comma, "one frame back", |_, _| ViewerAction::Step(-1)),
    plain(".", Key::Period, "one frame on", |_, _| ViewerAction::Step(1)),
    plain("↑", Key::ArrowUp, "faster", |_, clock| ViewerAction::SetRate(clock.rate() * 2.0)),
    plain("↓", Key::ArrowDown, "slower", |_, clock| ViewerAction::SetRate(clock.rate() * 0.5)),
    plain("J", Key::J, "one second back", |_, clock| ViewerAction::Step(-frames_per_second(clock))),
    plain("L", Key::L, "one second on", |_, clock| ViewerAction::Step(frames_per_second(clock))),
    plain("Home", Key::Home, "first frame", |_, _| ViewerAction::SeekTo(crate::video::FrameIndex(0))),
    plain("End", Key::End, "last frame", |_, _| ViewerAction::SeekTo(crate::video::FrameIndex(u32::MAX))),
    plain("/", Key::Slash, "type a question", |_, _| ViewerAction::FocusQuestion),
    plain("1", Key::Num1, "orbit", |_, _| ViewerAction::SetCameraMode(CameraMode::Orbit)),
    plain("2", Key::Num2, "follow the camera", |_, _| ViewerAction::SetCameraMode(CameraMode::Follow)),
    plain("3", Key::Num3, "map from above", |_, _| ViewerAction::SetCameraMode(CameraMode::Top)),
    plain("F", Key::F, "fit everything into the 3D view", |_, _| ViewerAction::FrameAll),
    plain("V", Key::V, "what the model saw", |_, _| ViewerAction::ToggleSight),
    plain("[", Key::OpenBracket, "held-out room before", |_, _| ViewerAction::StepRoom(-1)),
    plain("]", Key::CloseBracket, "next held-out room", |_, _| ViewerAction::StepRoom(1)),
    plain("PgUp", Key::PageUp, "earlier validation", |_, _| ViewerAction::StepValidation(-1)),
    plain("PgDn", Key::PageDown, "later validation", |_, _| ViewerAction::StepValidation(1)),
    plain("R", Key::R, "start or stop the Rerun recording", |_, _| ViewerAction::ToggleRecording),
    command("Ctrl O", Key::O, "open a video", |_, _| ViewerAction::ShowOpenDialog),
    command("Ctrl +", Key::Plus, "larger", |workbench, _| ViewerAction::SetUiScale(workbench.ui_scale * 1.1)),
    command("Ctrl −", Key::Minus, "smaller", |workbench, _| {
        ViewerAction::SetUiScale(workbench.ui_scale / 1.1)
    }),
    command("Ctrl 0", Key::Num0, "normal size", |_, _| ViewerAction::SetUiScale(1.0)),
    plain("?", Key::Questionmark, "this map of keys", |_, _| ViewerAction::ToggleHelp),
    plain("Esc", Key::Escape, "close, cancel", |_, _| ViewerAction::Dismiss),
];

fn frames_per_second(clock: &PlaybackClock) -> i32 {
    clock.video().map_or(1, |video| (1.0 / video.frame_secs()).round().max(1.0) as i32)
}

/// The actions of the keys pressed in this pass; none while a text field has the
/// keyboard, except Esc and those with Ctrl.
pub(crate) fn pressed_actions(
    ctx: &Context,
    workbench: &Workbench,
    clock: &PlaybackClock,
) -> Vec<ViewerAction> {
    let typing = ctx.egui_wants_keyboard_input();
    ctx.input_mut(|input| {
        SHORTCUTS
            .iter()
            .filter(|shortcut| !typing || shortcut.modifiers.command || shortcut.key == Key::Escape)
            .filter(|shortcut| {
                input.consume_key(shortcut.modifiers, shortcut.key) || is_variant(input, shortcut)
            })
            .map(|shortcut| (shortcut.action)(workbench, clock))
            .collect()
    })
}

/// Some keys need shift on some keyboards ("?", "+", "/"); where "+" does, it shares
/// its key with "=", which zooms without.
fn is_variant(input: &mut bevy_egui::egui::InputState, shortcut: &Shortcut) -> bool {
    let shifted = matches!(shortcut.key, Key::Questionmark | Key::Slash | Key::Plus)
        && input.consume_key(shortcut.modifiers | Modifiers::SHIFT, shortcut.key);
    shifted || shortcut.key == Key::Plus && input.consume_key(shortcut.modifiers, Key::Equals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bevy_egui::egui::{Event, RawInput};

    fn press(key: Key, modifiers: Modifiers) -> Vec<ViewerAction> {
        let ctx = Context::default();
        let event = Event::Key { key, physical_key: None, pressed: true, repeat: false, modifiers };
        let input = RawInput { events: vec![event], ..RawInput::default() };
        let mut actions = Vec::new();
        drop(ctx.run_ui(input, |ui| {
            actions = pressed_actions(ui.ctx(), &Workbench::default(), &PlaybackClock::default());
        }));
        actions
    }

    #[test]
    fn keys_become_actions() {
        assert_eq!(press(Key::Space, Modifiers::NONE), [ViewerAction::TogglePlay]);
        assert_eq!(press(Key::Questionmark, Modifiers::SHIFT), [ViewerAction::ToggleHelp]);
        assert_eq!(press(Key::Num3, Modifiers::NONE), [ViewerAction::SetCameraMode(CameraMode::Top)]);
        assert_eq!(press(Key::O, Modifiers::COMMAND), [ViewerAction::ShowOpenDialog]);
        assert_eq!(press(Key::O, Modifiers::NONE), []);
        let larger = [ViewerAction::SetUiScale(1.1)];
        assert_eq!(press(Key::Plus, Modifiers::COMMAND | Modifiers::SHIFT), larger);
        assert_eq!(press(Key::Equals, Modifiers::COMMAND), larger);
    }

    #[test]
    fn no_key_is_bound_twice() {
        for (k, shortcut) in SHORTCUTS.iter().enumerate() {
            let twin = SHORTCUTS[..k]
                .iter()
                .any(|other| other.key == shortcut.key && other.modifiers == shortcut.modifiers);
            assert!(!twin, "{}", shortcut.keys);
        }
    }
}
