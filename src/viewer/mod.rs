//! The desktop app (Bevy and egui).
