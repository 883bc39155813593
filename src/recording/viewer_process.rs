//! Finding and starting the Rerun viewer. It is another program, which may be
//! missing, of another version, or stuck: every wait here is bounded.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rerun::sink::GrpcSink;

/// The viewer's program, looked up on the search path.
const VIEWER: &str = "rerun";
/// Longest wait for `rerun --version`.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for a started viewer to listen.
const START_LIMIT: Duration = Duration::from_secs(15);
/// Share of the memory the viewer may use; the model needs the rest.
const MEMORY_LIMIT: &str = "25%";

/// Starts a viewer, or uses the one that already listens. Gives the connection and
/// a warning, if there is one.
pub(super) fn connect() -> Result<(GrpcSink, Option<String>), String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rerun::DEFAULT_SERVER_PORT));
    let mut warning = None;
    if !listens(address) {
        warning = check_version(&version_of(VIEWER)?);
        start(VIEWER, address.port())
            .map_err(|error| format!("the Rerun viewer did not start: {error}; {}", install()))?;
        let deadline = Instant::now() + START_LIMIT;
        while !listens(address) {
            if Instant::now() > deadline {
                return Err(format!(
                    "the Rerun viewer does not answer on port {} after {} s; does it open when you run `rerun`? Or record to a file with --rrd FILE",
                    address.port(),
                    START_LIMIT.as_secs()
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let url = format!("rerun+http://{address}/proxy");
    let uri = url.parse().map_err(|error| format!("the viewer's address {url} is not accepted: {error}"))?;
    Ok((GrpcSink::new(uri), warning))
}

/// Starts a viewer that outlives this program. It gets none of our streams: whoever
/// reads our output to its end must not wait for the viewer to be closed.
fn start(program: &str, port: u16) -> std::io::Result<()> {
    let mut viewer = Command::new(program);
    viewer
        .arg(format!("--port={port}"))
        .arg(format!("--memory-limit={MEMORY_LIMIT}"))
        .args(["--hide-welcome-screen", "--expect-data-soon"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Ctrl-C in the terminal is for us.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut viewer, 0);
    viewer.spawn().map(drop)
}

fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_ok()
}

fn sdk_version() -> String {
    rerun::build_info().version.to_string()
}

fn install() -> String {
    format!(
        "install it with `pip install rerun-sdk=={0}` or `cargo binstall rerun-cli@{0}`, or record to a file with --rrd FILE",
        sdk_version()
    )
}

/// What `PROGRAM --version` prints.
fn version_of(program: &str) -> Result<String, String> {
    let missing = |reason: String| format!("the Rerun viewer cannot be run ({reason}); {}", install());
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| missing(format!("`{program}`: {error}")))?;
    let deadline = Instant::now() + VERSION_LIMIT;
    loop {
        match child.try_wait().map_err(|error| missing(error.to_string()))? {
            Some(_) => break,
            None if Instant::now() > deadline => {
                // Whether it can still be stopped or not: we do not wait for it any more.
                drop(child.kill());
                return Err(missing(format!("`{program} --version` does not end")));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    let output = child.wait_with_output().map_err(|error| missing(error.to_string()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A warning when viewer ("rerun-cli 0.36.3 …") and library differ in their minor version.
fn check_version(printed: &str) -> Option<String> {
    let minor = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    let found = printed.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let ours = sdk_version();
    (minor(found) != minor(&ours)).then(|| {
        format!(
            "the Rerun viewer is version {found}, the recording is {ours}: some of it may not show; {}",
            install()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_viewer_is_an_error_that_says_what_to_install() {
        let message = version_of("rerun-that-nobody-has").unwrap_err();
        assert!(message.contains("pip install rerun-sdk==") && message.contains("--rrd"), "{message}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_started_viewer_does_not_hold_our_output_open() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let (viewer, seen) = (folder.path().join("viewer"), folder.path().join("seen"));
        let script = format!(
            "#!/bin/sh\nseen=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2)\n\
             echo \"$seen $1\" > {0}.part\nmv {0}.part {0}\n",
            seen.display()
        );
        std::fs::write(&viewer, script).unwrap();
        std::fs::set_permissions(&viewer, std::fs::Permissions::from_mode(0o755)).unwrap();
        start(viewer.to_str().unwrap(), 4321).unwrap();
        while !seen.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let seen = std::fs::read_to_string(seen).unwrap();
        assert_eq!(seen, "/dev/null\n/dev/null\n/dev/null --port=4321\n");
    }

    #[test]
    fn only_another_minor_version_is_worth_a_warning() {
        assert_eq!(check_version(&format!("rerun-cli {} [rustc 1.95]", sdk_version())), None);
        let message = check_version("rerun-cli 0.20.1 (release)").unwrap();
        assert!(message.contains("0.20.1"), "{message}");
    }
}
