//! A hub on this machine: lists and serves the files of one repository over plain HTTP, and
//! misbehaves where a test asks for it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// The repository that every server has.
pub(crate) const REPOSITORY: &str = "owner/tiny";
/// Its commit.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Files from this length on are listed with SHA-256, shorter ones as git blobs.
const LARGE: usize = 1000;

/// What was asked and what went out.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// Values by name in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    /// How often the same path was asked for before.
    pub(crate) before: usize,
    /// Bytes of content that were sent.
    pub(crate) served: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether it is for that file.
    pub(crate) fn is_for(&self, file: &str) -> bool {
        self.path == format!("/{REPOSITORY}/resolve/{COMMIT}/{file}")
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Closes the connection after that many bytes of the body.
    pub(crate) cut: Option<usize>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: &[u8]) -> Self {
        Self { status, body: body.to_vec(), ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }
}

type Files = BTreeMap<String, Vec<u8>>;
/// Answers in the server's place, or lets it answer.
type Fault = dyn Fn(&Request, &Files) -> Option<Reply> + Send + Sync;

/// A running server. It ends with the test's process.
pub(crate) struct HubServer {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl HubServer {
    /// An honest server.
    pub(crate) fn start(files: &[(&str, &[u8])]) -> Self {
        Self::start_with(files, |_, _| None)
    }

    /// A server whose answers `fault` may replace.
    pub(crate) fn start_with(
        files: &[(&str, &[u8])],
        fault: impl Fn(&Request, &Files) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let files: Files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let log = Arc::clone(&requests);
        let fault: Arc<Fault> = Arc::new(fault);
        let serve = move || {
            for stream in listener.incoming() {
                // One after the other: the client opens no second connection meanwhile.
                answer(stream.unwrap(), &files, fault.as_ref(), &log);
            }
        };
        std::thread::Builder::new().name("hub".to_owned()).spawn(serve).unwrap();
        Self { address, requests }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests for a file.
    pub(crate) fn requests_for(&self, file: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.is_for(file)).collect()
    }
}

fn answer(stream: TcpStream, files: &Files, fault: &Fault, log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        lines.push(line);
    }
    let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return };
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let before = log.lock().unwrap().iter().filter(|earlier| earlier.path == path).count();
    let mut request = Request { path: path.to_owned(), headers, before, served: 0 };
    let reply = fault(&request, files).unwrap_or_else(|| honest(&request, files));
    request.served = reply.cut.unwrap_or(usize::MAX).min(reply.body.len());
    let served = request.served;
    log.lock().unwrap().push(request);
    let mut head = format!("HTTP/1.1 {} Reply\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| name == "Content-Length") {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    // An empty value stands for no such header.
    for (name, value) in reply.headers.iter().filter(|(_, value)| !value.is_empty()) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = reader.into_inner();
    // A client that hung up is none of the server's business.
    drop(stream.write_all(format!("{head}\r\n").as_bytes()));
    drop(stream.write_all(&reply.body[..served]));
    drop(stream.shutdown(std::net::Shutdown::Write));
    drop(stream.read(&mut [0; 16]));
}

/// What a hub in good order answers.
pub(crate) fn honest(request: &Request, files: &Files) -> Reply {
    if request.path.starts_with(&format!("/api/models/{REPOSITORY}/revision/")) {
        return Reply::new(200, listing(files).as_bytes());
    }
    let file = files.iter().find(|(name, _)| request.is_for(name));
    let Some((_, content)) = file else { return Reply::new(404, b"no such file") };
    part_of(request, content, "\"honest\"")
}

/// Content, or the part of it that was asked for, when the tag is that of the parts before.
pub(crate) fn part_of(request: &Request, content: &[u8], tag: &str) -> Reply {
    let start = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let same = request.header("if-range").is_none_or(|before| before == tag);
    match start {
        Some(start) if same && start < content.len() => Reply::new(206, &content[start..])
            .with("Content-Range", &format!("bytes {start}-{}/{}", content.len() - 1, content.len())),
        Some(_) if same => Reply::new(416, b""),
        _ => Reply::new(200, content),
    }
    .with("ETag", tag)
}

/// The list of files, as the hub's API gives it with `blobs=true`.
pub(crate) fn listing(files: &Files) -> String {
    let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let siblings: Vec<_> = files
        .iter()
        .map(|(name, bytes)| {
            let blob =
                Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize();
            let mut entry = serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": hex(&blob)});
            if bytes.len() >= LARGE {
                let sha256 = hex(&Sha256::digest(bytes));
                entry["lfs"] = serde_json::json!({"sha256": sha256, "size": bytes.len(), "pointerSize": 134});
            }
            entry
        })
        .collect();
    serde_json::json!({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}).to_string()
}
