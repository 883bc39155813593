//! Numbers: localisation, answers, layout and camera errors beside their baselines.
