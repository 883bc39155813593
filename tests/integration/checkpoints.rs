//! Checkpoint folders and clips that tests make: random weights, pictures of stripes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use loc3r::model::{ModelConfig, Network, SeededVariables, TextTokenizer, checkpoint};

/// Writes a tiny checkpoint of random weights; `change` sees its tensors first.
pub(crate) fn write_tiny(folder: &Path, change: impl Fn(&mut BTreeMap<String, Tensor>)) {
    let config = ModelConfig::tiny();
    let variables = SeededVariables::new(5);
    let root = variables.builder(DType::F32, &Device::Cpu);
    Network::new(&config, &root).unwrap();
    let mut tensors = tensors_of(&variables);
    change(&mut tensors);
    let words = "I am standing in the room. What is on my left? The chair.";
    let tokenizer = TextTokenizer::train(std::iter::repeat_n(words.to_owned(), 4), 320).unwrap();
    checkpoint::save(folder, &config, &tokenizer, &tensors, DType::F32).unwrap();
}

/// The tensors made so far, by name.
pub(crate) fn tensors_of(variables: &SeededVariables) -> BTreeMap<String, Tensor> {
    let map = variables.var_map();
    let data = map.data().lock().unwrap();
    data.iter().map(|(name, variable)| (name.clone(), variable.as_tensor().clone())).collect()
}

/// Writes six pictures of a moving stripe.
pub(crate) fn write_clip(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for number in 0..6u32 {
        let picture = image::RgbImage::from_fn(48, 36, |x, y| {
            if x / 8 == number { image::Rgb([250, 30, 30]) } else { image::Rgb([(5 * y) as u8, 90, 120]) }
        });
        picture.save(folder.join(format!("{number}.png"))).unwrap();
    }
}

/// A folder with a tiny checkpoint (`model`) and a clip (`clip`).
pub(crate) struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_tiny(&folder.path().join("model"), |_| {});
        write_clip(&folder.path().join("clip"));
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `loc3r` here, on the CPU, with the tiny model as the default one.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        finished(self.start(args))
    }

    /// Runs `loc3r` as [`Self::run`] does, with variables of its own.
    pub(crate) fn run_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Run {
        finished(self.start_with(variables, args))
    }

    /// Starts `loc3r` as [`Self::run`] does.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.start_with(&[], args)
    }

    /// Starts `loc3r` as [`Self::run_with`] does.
    pub(crate) fn start_with(&self, variables: &[(&str, &str)], args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loc3r"));
        command.args(args).current_dir(self.folder.path()).env("LOC3R_MODEL", self.path("model"));
        command.env("LOC3R_MODELS", self.path("models")).env("LOC3R_CACHE", self.path("cache"));
        command.env("XDG_CACHE_HOME", self.path("cache"));
        // Nothing of the user who runs the tests counts.
        for variable in ["RUST_LOG", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE"]
        {
            command.env_remove(variable);
        }
        command.envs(variables.iter().copied()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// What a run left.
pub(crate) struct Run(Output);

impl Run {
    pub(crate) fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Standard output of a run that must succeed.
    pub(crate) fn success(&self) -> String {
        assert_eq!(self.code(), Some(0), "{}\n{}", self.stdout(), self.stderr());
        self.stdout()
    }

    /// The message of a run that must fail: exit code 2, one `error:` line, no panic.
    pub(crate) fn failure(&self) -> String {
        let message = self.stderr();
        assert_eq!(self.code(), Some(2), "{}\n{message}", self.stdout());
        assert!(!message.contains("panicked"), "{message}");
        assert_eq!(message.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{message}");
        message
    }
}

/// Waits at most two minutes: a hang is a failure, not a stuck test.
pub(crate) fn finished(child: Child) -> Run {
    finished_within(child, Duration::from_mins(2))
}

fn all_of(pipe: Option<impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).unwrap();
    }
    bytes
}

/// Waits at most `limit`.
pub(crate) fn finished_within(mut child: Child, limit: Duration) -> Run {
    let deadline = Instant::now() + limit;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Read beside: a program waits while its pipe is full.
    let (status, stdout, stderr) = std::thread::scope(|scope| {
        let (stdout, stderr) = (scope.spawn(|| all_of(stdout)), scope.spawn(|| all_of(stderr)));
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        (status, stdout.join().unwrap(), stderr.join().unwrap())
    });
    let status = status.expect("loc3r does not end");
    Run(Output { status, stdout, stderr })
}
