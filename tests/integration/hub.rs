//! Fetching models from a hub that breaks connections, lies and forbids.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::time::Duration;

use loc3r::hub::{Client, FetchEvent, FetchRequest, Fetched, HubError, Patience, Token, fetch};
use loc3r::worker::CancelFlag;

use crate::checkpoints::{Workshop, finished};
use crate::hub_server::{COMMIT, HubServer, REPOSITORY, Reply, honest, part_of};

const CONFIG: &[u8] = b"{\"model_type\": \"llava_qwen\"}\n";
const WEIGHTS: &str = "model.safetensors";

/// 200,000 bytes that differ everywhere.
fn weights() -> Vec<u8> {
    (0..200_000u32).map(|k| (k.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn client(server: &HubServer) -> Client {
    client_as(server, None)
}

fn client_as(server: &HubServer, token: Option<&str>) -> Client {
    let patience =
        Patience { tries: 4, first_wait: Duration::from_millis(1), longest_wait: Duration::from_secs(2) };
    let token = token.and_then(|secret| Token::new(secret, "HF_TOKEN").unwrap());
    Client::new(server.address().parse().unwrap(), token, patience)
}

fn request(folder: &Path) -> FetchRequest {
    FetchRequest {
        repository: REPOSITORY.parse().unwrap(),
        revision: "main".to_owned(),
        folder: folder.to_owned(),
        include: Vec::new(),
        exclude: Vec::new(),
    }
}

fn fetched(server: &HubServer, folder: &Path) -> Result<Fetched, HubError> {
    fetch(&client(server), &request(folder), &CancelFlag::default(), &mut |_| ())
}

/// The message of a fetch that must fail.
fn failure(server: &HubServer, folder: &Path) -> String {
    fetched(server, folder).unwrap_err().to_string()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_model_is_fetched_once_and_checked_afterwards() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    let folder = folder.path().join("new/model");
    let server = HubServer::start(&[
        ("config.json", CONFIG),
        (WEIGHTS, &weights),
        ("demo.mp4", b"film"),
        ("empty.pth", b""),
    ]);
    let mut events = Vec::new();
    let first = fetch(&client(&server), &request(&folder), &CancelFlag::default(), &mut |event| {
        events.push(format!("{event:?}"));
    });
    let bytes = (weights.len() + CONFIG.len()) as u64;
    assert_eq!(first.unwrap(), Fetched { files: 3, bytes, downloaded: 3 });
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), weights);
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), CONFIG);
    assert_eq!(names(&folder), ["config.json", "empty.pth", "fetched.json", WEIGHTS]);
    // The size is told before anything is downloaded, and reached at the end.
    let at = |part: &str| events.iter().position(|event| event.contains(part)).unwrap();
    assert!(at(&format!("bytes: {bytes} }}")) < at("Downloading"), "{events:?}");
    assert_eq!(events.last().unwrap(), &format!("Progress {{ done: {bytes} }}"));

    let asked = server.requests().len();
    assert_eq!(fetched(&server, &folder).unwrap().downloaded, 0);
    assert_eq!(server.requests().len(), asked + 1, "only the list is asked for");

    // A file that was damaged here is fetched again, it alone.
    std::fs::write(folder.join("config.json"), CONFIG.to_ascii_uppercase()).unwrap();
    assert_eq!(fetched(&server, &folder).unwrap().downloaded, 1);
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), CONFIG);
    assert_eq!(server.requests_for(WEIGHTS).len(), 1);
}

#[test]
fn broken_connections_are_continued_where_they_broke() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    // More breaks than tries: each brings something new.
    let server = HubServer::start_with(&[("config.json", CONFIG), (WEIGHTS, &weights)], |request, files| {
        let cut = request.is_for(WEIGHTS) && request.before < 6;
        cut.then(|| honest(request, files).cut_after(30_000))
    });
    assert_eq!(fetched(&server, folder.path()).unwrap().downloaded, 2);
    assert_eq!(std::fs::read(folder.path().join(WEIGHTS)).unwrap(), weights);
    let requests = server.requests_for(WEIGHTS);
    assert_eq!(requests.len(), 7);
    assert_eq!(requests.iter().map(|request| request.served).sum::<usize>(), weights.len());
    assert_eq!(requests[6].header("range"), Some("bytes=180000-"));
    assert_eq!(requests[6].header("if-range"), Some("\"honest\""));
}

#[test]
fn a_later_run_goes_on_with_what_an_earlier_one_left() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    let server = HubServer::start_with(&[("config.json", CONFIG), (WEIGHTS, &weights)], |request, files| {
        // The first connection breaks, then the hub is gone for good, as long as this run lasts.
        match (request.is_for(WEIGHTS), request.before) {
            (true, 0) => Some(honest(request, files).cut_after(120_000)),
            (true, 1..=3) => Some(honest(request, files).cut_after(0)),
            _ => None,
        }
    });
    let message = failure(&server, folder.path());
    assert!(message.contains("4 times") && message.contains("the same command goes on"), "{message}");
    assert_eq!(names(folder.path()), ["config.json", "fetched.json", "model.safetensors.partial"]);
    assert_eq!(fetched(&server, folder.path()).unwrap().downloaded, 1);
    assert_eq!(std::fs::read(folder.path().join(WEIGHTS)).unwrap(), weights);
    assert_eq!(names(folder.path()), ["config.json", "fetched.json", WEIGHTS]);
    let served: usize = server.requests_for(WEIGHTS).iter().map(|request| request.served).sum();
    assert_eq!(served, weights.len());
}

#[test]
fn servers_without_ranges_are_given_up_when_nothing_new_comes() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    let all = weights.clone();
    let server = HubServer::start_with(&[(WEIGHTS, &weights)], move |request, _| {
        request.is_for(WEIGHTS).then(|| Reply::new(200, &all).cut_after(50_000))
    });
    assert!(failure(&server, folder.path()).contains("4 times"));
    assert_eq!(server.requests_for(WEIGHTS).len(), 4);
}

#[test]
fn a_file_that_changes_between_two_tries_is_started_over() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    let (stale, now) = (vec![7; weights.len()], weights.clone());
    let server = HubServer::start_with(&[(WEIGHTS, &weights)], move |request, _| {
        request.is_for(WEIGHTS).then(|| match request.before {
            0 => part_of(request, &stale, "\"old\"").cut_after(90_000),
            _ => part_of(request, &now, "\"new\""),
        })
    });
    fetched(&server, folder.path()).unwrap();
    assert_eq!(std::fs::read(folder.path().join(WEIGHTS)).unwrap(), weights);
    let requests = server.requests_for(WEIGHTS);
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].header("if-range"), Some("\"old\""));
    assert_eq!(requests[1].served, weights.len());
}

#[test]
fn a_server_that_joins_different_versions_is_found_out() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    let (stale, now) = (vec![7; weights.len()], weights.clone());
    // Parts whatever the tag says: once told by the tag, once only by the hash.
    for tag in ["\"new\"", "W/\"weak\""] {
        let folder = folder.path().join(tag.len().to_string());
        let (stale, now) = (stale.clone(), now.clone());
        let server = HubServer::start_with(&[(WEIGHTS, &weights)], move |request, _| {
            let mut request = request.clone();
            request.headers.remove("if-range");
            request.is_for(WEIGHTS).then(|| match request.before {
                0 => part_of(&request, &stale, &tag.replace("new", "old")).cut_after(90_000),
                _ => part_of(&request, &now, tag),
            })
        });
        fetched(&server, &folder).unwrap();
        assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), weights);
        assert_eq!(server.requests_for(WEIGHTS).len(), 3);
    }
}

#[test]
fn wrong_content_is_never_installed() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    let wrong = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>();
    for (file, content) in [(WEIGHTS, wrong(&weights)), ("config.json", wrong(CONFIG))] {
        let server =
            HubServer::start_with(&[("config.json", CONFIG), (WEIGHTS, &weights)], move |request, _| {
                request.is_for(file).then(|| Reply::new(200, &content))
            });
        let folder = folder.path().join(file);
        let message = failure(&server, &folder);
        assert!(message.contains(file) && message.contains("wrong hash"), "{message}");
        assert!(!folder.join(file).exists() && !folder.join(format!("{file}.partial")).exists());
        assert_eq!(server.requests_for(file).len(), 1);
    }
    let (longer, shorter) = ([&weights[..], b"!"].concat(), weights[1..].to_vec());
    let untold = Reply::new(200, &longer).with("Content-Length", "");
    for reply in [Reply::new(200, &longer), Reply::new(200, &shorter), untold] {
        let server = HubServer::start_with(&[(WEIGHTS, &weights)], move |request, _| {
            request.is_for(WEIGHTS).then(|| reply.clone())
        });
        let message = failure(&server, &folder.path().join("length"));
        assert!(message.contains("200000 in its list"), "{message}");
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    let server = HubServer::start_with(&[(WEIGHTS, &weights)], |request, _| {
        (request.before == 0).then(|| Reply::new(429, b"slow down").with("Retry-After", "0"))
    });
    let mut waits = Vec::new();
    fetch(&client(&server), &request(folder.path()), &CancelFlag::default(), &mut |event| {
        if let FetchEvent::Waiting { problem, wait } = event {
            waits.push((problem.to_string().contains("429"), wait));
        }
    })
    .unwrap();
    assert_eq!(waits, [(true, Duration::ZERO); 2]);

    let server = HubServer::start_with(&[(WEIGHTS, &weights)], |_, _| Some(Reply::new(503, b"")));
    assert!(failure(&server, folder.path()).contains("503"));
    assert_eq!(server.requests().len(), 4);
    let server = HubServer::start_with(&[(WEIGHTS, &weights)], |_, _| {
        Some(Reply::new(429, b"").with("Retry-After", "3600"))
    });
    assert!(failure(&server, folder.path()).contains("asks to wait 3600 s"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    let files = [("config.json", CONFIG), (WEIGHTS, &weights[..])];
    let store = HubServer::start(&files);
    let elsewhere = store.address().to_owned();
    let hub = HubServer::start_with(&files, move |request, _| {
        let to = |path: &str| Reply::new(302, b"").with("Location", path);
        match request.path.as_str() {
            _ if request.is_for(WEIGHTS) => Some(to(&format!("{elsewhere}{}", request.path))),
            // Within the hub a redirect keeps the token.
            _ if request.is_for("config.json") => Some(to("/other/config.json")),
            "/other/config.json" => Some(Reply::new(200, CONFIG)),
            _ => None,
        }
    });
    fetch(&client_as(&hub, Some("hf_secret")), &request(folder.path()), &CancelFlag::default(), &mut |_| ())
        .unwrap();
    assert_eq!(std::fs::read(folder.path().join(WEIGHTS)).unwrap(), weights);
    assert_eq!(hub.requests().len(), 4);
    for request in hub.requests() {
        assert_eq!(request.header("authorization"), Some("Bearer hf_secret"), "{}", request.path);
    }
    assert_eq!(store.requests().len(), 1);
    assert_eq!(store.requests()[0].header("authorization"), None);
    let note = std::fs::read_to_string(folder.path().join("fetched.json")).unwrap();
    assert!(!note.contains("hf_secret") && note.contains(COMMIT));
}

#[test]
fn redirects_that_lead_nowhere_end() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    for target in ["/loop", "ftp://127.0.0.1/x", "", "http://"] {
        let server = HubServer::start_with(&[(WEIGHTS, &weights)], move |request, _| {
            (!request.path.starts_with("/api")).then(|| Reply::new(302, b"").with("Location", target))
        });
        let message = failure(&server, folder.path());
        assert!(message.contains("redirects model.safetensors"), "{target:?} {message}");
        assert!(server.requests().len() <= 11);
    }
}

#[test]
fn refusals_say_what_to_do_and_keep_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    for (status, token, parts) in [
        (401, None, ["HF_TOKEN", "/settings/tokens"]),
        (403, None, ["accept", "owner/tiny"]),
        (401, Some("hf_secret"), ["the token from HF_TOKEN is not valid", "/settings/tokens"]),
        (403, Some("hf_secret"), ["accept it on", "with that account"]),
        (404, None, ["model owner/tiny at revision main", "--revision"]),
        (400, None, ["400", "model owner/tiny"]),
    ] {
        let server = HubServer::start_with(&[], move |_, _| Some(Reply::new(status, b"no")));
        let client = client_as(&server, token);
        let outcome = fetch(&client, &request(folder.path()), &CancelFlag::default(), &mut |_| ());
        let message = outcome.unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{status} {message}");
        assert!(!message.contains("hf_secret") && !format!("{client:?}").contains("hf_secret"));
        assert_eq!(server.requests().len(), 1, "{status} is not asked again");
    }
}

#[test]
fn lists_that_cannot_be_used_name_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    for (list, part) in [
        ("<html>", "not what a hub answers"),
        ("{\"siblings\": []}", "nothing that loc3r reads"),
        ("{\"siblings\": [{\"rfilename\": \"config.json\", \"size\": 3}]}", "no hash of config.json"),
        ("{\"siblings\": [{\"rfilename\": \"..\\\\x.safetensors\", \"size\": 3}]}", "refused"),
    ] {
        let server = HubServer::start_with(&[], move |_, _| Some(Reply::new(200, list.as_bytes())));
        let message = failure(&server, folder.path());
        assert!(message.contains(REPOSITORY) && message.contains(part), "{message}");
    }
    // More than any disk has.
    let list = format!(
        r#"{{"siblings": [{{"rfilename": "config.json", "size": {}, "blobId": "{COMMIT}"}}]}}"#,
        u64::MAX
    );
    let server = HubServer::start_with(&[], move |_, _| Some(Reply::new(200, list.as_bytes())));
    if cfg!(unix) {
        let message = failure(&server, &folder.path().join("model"));
        assert!(message.contains("MB free") && message.contains("--into"), "{message}");
        assert!(!folder.path().join("model").exists());
    }
}

#[test]
fn what_somebody_else_put_there_is_not_touched() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    let server = HubServer::start(&[("config.json", CONFIG), (WEIGHTS, &weights)]);
    std::fs::write(folder.path().join("config.json"), b"mine").unwrap();
    let message = failure(&server, folder.path());
    assert!(message.contains("config.json") && message.contains("--into"), "{message}");
    assert_eq!(std::fs::read(folder.path().join("config.json")).unwrap(), b"mine");
    // The right files may have come another way.
    std::fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    std::fs::write(folder.path().join(WEIGHTS), &weights).unwrap();
    assert_eq!(fetched(&server, folder.path()).unwrap().downloaded, 0);
}

#[test]
fn a_newer_version_leaves_nothing_of_the_older_one() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    let index = b"{\"weight_map\": {}}";
    let old = HubServer::start(&[
        ("config.json", CONFIG),
        ("model.safetensors.index.json", index),
        ("model-1.safetensors", &weights[..5000]),
        ("model.q4.gguf", b"gguf"),
    ]);
    let with_gguf = FetchRequest { include: vec!["*.gguf".to_owned()], ..request(folder.path()) };
    fetch(&client(&old), &with_gguf, &CancelFlag::default(), &mut |_| ()).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    std::fs::write(folder.path().join("model.safetensors.partial"), vec![1; 5000]).unwrap();
    let new = HubServer::start(&[("config.json", b"{}"), (WEIGHTS, &weights), ("model.q4.gguf", b"gguf")]);
    assert_eq!(fetched(&new, folder.path()).unwrap().downloaded, 2);
    assert_eq!(names(folder.path()), ["config.json", "fetched.json", "model.q4.gguf", WEIGHTS, "notes.txt"]);
    assert_eq!(std::fs::read(folder.path().join("config.json")).unwrap(), b"{}");
    assert_eq!(new.requests_for(WEIGHTS)[0].header("range"), None, "a stray part is not continued");
}

#[test]
fn stopping_keeps_what_came() {
    let (weights, folder) = (weights(), tempfile::tempdir().unwrap());
    let server = HubServer::start(&[(WEIGHTS, &weights)]);
    let cancel = CancelFlag::default();
    let outcome = fetch(&client(&server), &request(folder.path()), &cancel, &mut |event| {
        if matches!(event, FetchEvent::Progress { .. }) {
            cancel.raise();
        }
    });
    assert!(matches!(outcome, Err(HubError::Cancelled)), "{outcome:?}");
    let kept = std::fs::metadata(folder.path().join("model.safetensors.partial")).unwrap().len();
    assert!(kept > 0);
    fetched(&server, folder.path()).unwrap();
    assert_eq!(std::fs::read(folder.path().join(WEIGHTS)).unwrap(), weights);
    if kept < weights.len() as u64 {
        assert_eq!(server.requests_for(WEIGHTS)[1].header("range"), Some(format!("bytes={kept}-").as_str()));
    }
}

#[test]
fn a_hub_out_of_reach_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let patience =
        Patience { tries: 4, first_wait: Duration::from_mins(1), longest_wait: Duration::from_mins(5) };
    let client = Client::new(format!("http://{address}").parse().unwrap(), None, patience);
    let outcome = fetch(&client, &request(folder.path()), &CancelFlag::default(), &mut |_| ());
    let message = outcome.unwrap_err().to_string();
    assert!(
        message.contains("cannot reach http://127.0.0.1") && message.contains("HF_ENDPOINT"),
        "{message}"
    );
}

/// The files of the workshop's tiny model.
fn tiny_model(workshop: &Workshop) -> Vec<(&'static str, Vec<u8>)> {
    ["config.json", "tokenizer.json", WEIGHTS]
        .map(|name| (name, std::fs::read(workshop.path("model").join(name)).unwrap()))
        .to_vec()
}

#[test]
fn a_fetched_model_is_taken_by_its_name() {
    let workshop = Workshop::new();
    let files = tiny_model(&workshop);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let server = HubServer::start(&files);
    let hub = [("HF_ENDPOINT", server.address()), ("HF_TOKEN", "hf_secret")];
    let run = workshop.run_with(&hub, &["fetch", REPOSITORY]);
    let text = run.success();
    assert!(text.contains("owner--tiny") && text.contains("--model owner/tiny"), "{text}");
    assert!(run.stderr().contains(COMMIT) && !run.stderr().contains("hf_secret"), "{}", run.stderr());
    assert!(workshop.path("models/owner--tiny/config.json").is_file());

    let asked = ["ask", "clip", "What is on my left?", "--json", "--model"];
    for name in ["owner/tiny", "tiny", "Tiny"] {
        workshop.run(&[&asked[..], &[name]].concat()).success();
    }
    let text = workshop.run(&["models"]).success();
    assert!(text.contains("owner/tiny") && text.contains("f32") && text.contains("loc3r-mini"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&workshop.run(&["models", "--json"]).success()).unwrap();
    assert_eq!(json[0]["name"], "owner/tiny");
    assert_eq!(json[0]["numbers"], "f32");
    assert!(workshop.run(&["inspect", "tiny"]).success().contains("owner--tiny"));

    let message = workshop.run(&[&asked[..], &["other"]].concat()).failure();
    assert!(message.contains("owner/tiny, loc3r-mini") && message.contains("loc3r fetch"), "{message}");
    std::fs::remove_file(workshop.path("models/owner--tiny/tokenizer.json")).unwrap();
    let message = workshop.run(&[&asked[..], &["tiny"]].concat()).failure();
    assert!(message.contains("1 of 3 files") && message.contains("loc3r fetch owner/tiny"), "{message}");
    assert!(workshop.run(&["models"]).success().contains("1 of 3 files are missing"));
}

#[test]
fn wrong_use_of_fetch_is_told_before_anybody_is_asked() {
    let workshop = Workshop::new();
    let server = HubServer::start(&[]);
    let hub = ("HF_ENDPOINT", server.address());
    let fails = |variables: &[(&str, &str)], args: &[&str], part: &str| {
        let run = workshop.run_with(variables, args);
        assert_eq!(run.code(), Some(2));
        assert!(run.stderr().contains(part), "{part} is missing in {}", run.stderr());
    };
    fails(&[hub, ("HF_HUB_OFFLINE", "1")], &["fetch", REPOSITORY], "HF_HUB_OFFLINE is set");
    fails(&[hub], &["fetch", "../up"], "OWNER/NAME");
    fails(&[("HF_ENDPOINT", "huggingface.co")], &["fetch", REPOSITORY], "https://");
    fails(&[hub, ("HF_TOKEN", "a b")], &["fetch", REPOSITORY], "the token in HF_TOKEN");
    assert_eq!(server.requests().len(), 0);
    // A token file is found, too.
    std::fs::write(workshop.path("token"), "hf_secret\n").unwrap();
    fails(&[hub, ("HF_HOME", ".")], &["fetch", REPOSITORY], "nothing that loc3r reads");
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer hf_secret"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_download_that_goes_on() {
    use std::sync::mpsc::sync_channel;
    use std::time::Instant;

    let (workshop, weights) = (Workshop::new(), weights());
    let (release, gate) = sync_channel::<()>(1);
    let gate = std::sync::Mutex::new(gate);
    let server = HubServer::start_with(&[(WEIGHTS, &weights)], move |request, files| {
        if request.is_for(WEIGHTS) && request.before == 1 {
            // Holds the second answer back until the signal is sent.
            gate.lock().unwrap().recv().unwrap();
        }
        (request.is_for(WEIGHTS) && request.before == 0).then(|| honest(request, files).cut_after(70_000))
    });
    let command = ["fetch", REPOSITORY, "--into", "mine", "--endpoint", server.address()];
    let running = workshop.start_with(&[], &command);
    let started = Instant::now();
    while server.requests_for(WEIGHTS).is_empty() && started.elapsed() < Duration::from_secs(100) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let signal = std::process::Command::new("kill").args(["-INT", &running.id().to_string()]).status();
    assert!(signal.unwrap().success());
    release.send(()).unwrap();
    let message = finished(running).failure();
    assert!(message.contains("the same command goes on"), "{message}");
    assert!(workshop.path("mine/model.safetensors.partial").is_file());
    workshop.run_with(&[], &command).success();
    assert_eq!(std::fs::read(workshop.path("mine").join(WEIGHTS)).unwrap(), weights);
}
