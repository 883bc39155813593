//! HTTP to a hub. The token goes to the hub's own address alone: redirects are followed here,
//! one by one, and lead to other hosts without it.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use ureq::http::header::{self, HeaderMap};
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::{HubError, Listing, RemoteFile, RepositoryName, Token};
use crate::worker::CancelFlag;

const MOST_REDIRECTS: usize = 10;
/// Longest list of files that is read, in bytes.
const LONGEST_LISTING: u64 = 32 << 20;
/// Longest wait for a connection, for an answer to begin, and for more of it.
const CONNECT: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_mins(1);
const SILENCE: Duration = Duration::from_secs(30);
/// How often a wait looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(50);
/// Longest text of a server that is repeated.
const LONGEST_WORDS: usize = 200;

/// The address of a hub or a mirror of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Without a slash at its end.
    address: String,
    origin: Origin,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl FromStr for Endpoint {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let fail = |reason: &str| HubError::Endpoint { address: text.to_owned(), reason: reason.to_owned() };
        let address = text.trim().trim_end_matches('/');
        let uri: Uri = address.parse().map_err(|_not_a_uri| fail("it cannot be read"))?;
        let origin =
            Origin::of(&uri).ok_or_else(|| fail("it begins neither with https:// nor with http://"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(fail("names and passwords have no place in it"));
        }
        if uri.query().is_some() {
            return Err(fail("it has a question mark"));
        }
        Ok(Self { address: address.to_owned(), origin })
    }
}

/// What the token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        Some(Self { scheme, host, port: uri.port_u16().unwrap_or(usual) })
    }

    /// Whether it is a plain server of this machine: no proxy leads there, and it needs none
    /// of the system's certificates.
    fn is_here(&self) -> bool {
        self.scheme == "http" && ["localhost", "127.0.0.1", "[::1]"].contains(&self.host.as_str())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match (self.scheme.as_str(), self.port) {
            ("https", 443) | ("http", 80) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

/// How often and how long to try again.
#[derive(Debug, Clone)]
pub struct Patience {
    /// Failures in a row, nothing new between them, after which to give up.
    pub tries: u32,
    /// Wait after the first failure; each further one doubles it.
    pub first_wait: Duration,
    /// Longest wait; a server that asks for a longer one is given up.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: 6, first_wait: Duration::from_secs(1), longest_wait: Duration::from_mins(5) }
    }
}

/// Counts failures in a row and waits between them.
pub(super) struct Tries<'a> {
    patience: &'a Patience,
    cancel: &'a CancelFlag,
    failed: u32,
}

impl Tries<'_> {
    /// Something new came: what failed before does not count any more.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits after a failure that may pass; `told` hears why and how long. Gives back a
    /// failure that will not pass, or came too often.
    pub(super) fn after(
        &mut self,
        failure: HubError,
        told: &mut dyn FnMut(&HubError, Duration),
    ) -> Result<(), HubError> {
        if !failure.is_passing() {
            return Err(failure);
        }
        self.failed += 1;
        let doubled = self.patience.first_wait.saturating_mul(1 << (self.failed - 1).min(16));
        let asked = if let HubError::Busy { wait, .. } = &failure { *wait } else { None };
        let wait = asked.unwrap_or(doubled.min(self.patience.longest_wait));
        if self.failed >= self.patience.tries || wait > self.patience.longest_wait {
            return Err(HubError::GaveUp { problem: Box::new(failure), failures: self.failed });
        }
        told(&failure, wait);
        let end = Instant::now() + wait;
        loop {
            if self.cancel.is_raised() {
                return Err(HubError::Cancelled);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(GLANCE));
        }
    }
}

/// The rest of a file, to ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest<'a> {
    /// First byte.
    pub(super) start: u64,
    /// Tag of the content that the bytes before are of, where the server gave one.
    pub(super) tag: Option<&'a str>,
}

/// Asks one hub, as one person or as nobody.
pub struct Client {
    agent: Agent,
    endpoint: Endpoint,
    token: Option<Token>,
    patience: Patience,
    /// Whether anything answered yet: from then on an unreachable host is a broken connection.
    reached: Cell<bool>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client; nothing is asked yet. Proxies are those of the usual variables
    /// (`HTTPS_PROXY`, `NO_PROXY`), certificates those of the system.
    pub fn new(endpoint: Endpoint, token: Option<Token>, patience: Patience) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .accept_encoding("identity")
            .user_agent(concat!("loc3r/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(SILENCE));
        if endpoint.origin.is_here() {
            config = config.proxy(None);
        } else {
            config = config.tls_config(TlsConfig::builder().root_certs(root_certificates()).build());
        }
        Self { agent: config.build().new_agent(), endpoint, token, patience, reached: Cell::new(false) }
    }

    /// The hub.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Starts counting failures.
    pub(super) fn tries<'a>(&'a self, cancel: &'a CancelFlag) -> Tries<'a> {
        Tries { patience: &self.patience, cancel, failed: 0 }
    }

    /// Asks for the files of a repository.
    pub(super) fn list(&self, repository: &RepositoryName, revision: &str) -> Result<Listing, HubError> {
        let unusable = |reason: String| HubError::Listing { repository: repository.to_string(), reason };
        let url = format!(
            "{}/api/models/{repository}/revision/{}?blobs=true",
            self.endpoint,
            encoded(revision, "")
        );
        let what = format!("model {repository} at revision {revision}");
        let (response, origin) = self.get(&url, None, repository, &what)?;
        let body = response.into_body().into_with_config().limit(LONGEST_LISTING).read_to_vec();
        let bytes = body.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(limit) => unusable(format!("it is longer than {limit} bytes")),
            error => self.broken(&origin, &error),
        })?;
        Listing::from_json(&bytes).map_err(unusable)
    }

    /// Asks for a file, or the rest of it.
    pub(super) fn open(
        &self,
        repository: &RepositoryName,
        revision: &str,
        file: &RemoteFile,
        rest: Option<Rest<'_>>,
    ) -> Result<FileAnswer, HubError> {
        let url = format!(
            "{}/{repository}/resolve/{}/{}",
            self.endpoint,
            encoded(revision, ""),
            encoded(&file.name, "/")
        );
        let what = format!("{} of {repository}", file.name);
        let (response, origin) = self.get(&url, rest, repository, &what)?;
        Ok(FileAnswer { response, host: origin.to_string() })
    }

    /// Follows redirects to an answer that says what was asked.
    fn get(
        &self,
        url: &str,
        rest: Option<Rest<'_>>,
        repository: &RepositoryName,
        what: &str,
    ) -> Result<(Response<Body>, Origin), HubError> {
        let refused = |origin: &Origin, reason: &str| HubError::Redirect {
            host: origin.to_string(),
            what: what.to_owned(),
            reason: reason.to_owned(),
        };
        let mut origin = self.endpoint.origin.clone();
        let mut uri: Uri =
            url.parse().map_err(|_not_a_uri| refused(&origin, "the address cannot be read"))?;
        for _ in 0..MOST_REDIRECTS {
            let response = self.ask(&uri, &origin, rest)?;
            if !response.status().is_redirection() {
                return self.judged(response, &origin, repository, what).map(|response| (response, origin));
            }
            let target = text_of(response.headers(), &header::LOCATION).unwrap_or_default();
            uri =
                redirected(&uri, target).ok_or_else(|| refused(&origin, "the new address cannot be read"))?;
            let next =
                Origin::of(&uri).ok_or_else(|| refused(&origin, "the new address is no web address"))?;
            if origin.scheme == "https" && next.scheme != "https" {
                return Err(refused(&origin, "the new address is not secure"));
            }
            origin = next;
        }
        Err(refused(&origin, "that many redirects lead nowhere"))
    }

    /// One request to one host.
    fn ask(&self, uri: &Uri, origin: &Origin, rest: Option<Rest<'_>>) -> Result<Response<Body>, HubError> {
        let mut request = self.agent.get(uri.clone());
        if let Some(Rest { start, tag }) = rest {
            request = request.header(header::RANGE, format!("bytes={start}-"));
            if let Some(tag) = tag {
                request = request.header(header::IF_RANGE, tag);
            }
        }
        if let Some(token) = self.token.as_ref().filter(|_| *origin == self.endpoint.origin) {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        let response = request.call().map_err(|error| self.broken(origin, &error))?;
        self.reached.set(true);
        Ok(response)
    }

    /// Passes on an answer with content, or says what is wrong.
    fn judged(
        &self,
        response: Response<Body>,
        origin: &Origin,
        repository: &RepositoryName,
        what: &str,
    ) -> Result<Response<Body>, HubError> {
        let (host, what) = (origin.to_string(), what.to_owned());
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
            // The addresses that a hub redirects to are good for a while only.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if *origin != self.endpoint.origin => {
                Err(HubError::Broken {
                    host,
                    reason: format!("it refuses the address ({})", status.as_u16()),
                })
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.refused(status, repository)),
            StatusCode::NOT_FOUND => Err(HubError::NotFound { host, what }),
            status
                if status.is_server_error()
                    || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status) =>
            {
                let wait = text_of(response.headers(), &header::RETRY_AFTER);
                let wait = wait.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
                Err(HubError::Busy { host, status: status.as_u16(), wait })
            }
            _ => {
                let words = response.headers().get("x-error-message").and_then(|words| words.to_str().ok());
                let plain = |words: &str| {
                    words.chars().filter(|c| !c.is_control()).take(LONGEST_WORDS).collect::<String>()
                };
                let words = words.map_or_else(String::new, |words| format!(": {}", plain(words)));
                Err(HubError::Status { host, status: status.as_u16(), what, words })
            }
        }
    }

    /// What to do about a refusal.
    fn refused(&self, status: StatusCode, repository: &RepositoryName) -> HubError {
        let endpoint = &self.endpoint;
        let page = format!("{endpoint}/{repository}");
        let accept = format!("where the model has a licence to accept, log in and accept it on {page}");
        let advice = match (&self.token, status) {
            (None, _) => format!(
                "the name may be wrong, or the model private or under a licence to accept; {accept}, make a token on {endpoint}/settings/tokens and set HF_TOKEN to it"
            ),
            (Some(token), StatusCode::UNAUTHORIZED) => format!(
                "the name may be wrong, or the token from {} is not valid any more; a new one is made on {endpoint}/settings/tokens",
                token.place()
            ),
            (Some(token), _) => format!(
                "the account of the token from {} may not read it; {accept}, with that account, and let the token read such models",
                token.place()
            ),
        };
        HubError::Refused { page, status: status.as_u16(), advice }
    }

    /// Sorts what happened to a connection.
    fn broken(&self, origin: &Origin, error: &ureq::Error) -> HubError {
        use std::io::ErrorKind as Io;
        let host = origin.to_string();
        let (unreachable, certificate, reason) = match error {
            ureq::Error::HostNotFound => (true, false, "no such host is known".to_owned()),
            ureq::Error::ConnectionFailed => (true, false, "no connection".to_owned()),
            ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
                (true, false, "no answer".to_owned())
            }
            ureq::Error::Timeout(_) => (false, false, "silence".to_owned()),
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::Pem(_) => {
                (false, true, error.to_string())
            }
            ureq::Error::Io(io) => {
                let unreachable = [
                    Io::ConnectionRefused,
                    Io::HostUnreachable,
                    Io::NetworkUnreachable,
                    Io::AddrNotAvailable,
                ];
                // A handshake that fails is told as wrong data.
                (
                    unreachable.contains(&io.kind()),
                    io.kind() == Io::InvalidData && origin.scheme == "https",
                    io.to_string(),
                )
            }
            error => (false, false, error.to_string()),
        };
        match (certificate, unreachable && !self.reached.get()) {
            (true, _) => HubError::Certificate { host, reason },
            (false, true) => HubError::Unreachable { host, reason },
            (false, false) => HubError::Broken { host, reason },
        }
    }
}

/// The answer to [`Client::open`], and who gave it.
pub(super) struct FileAnswer {
    response: Response<Body>,
    pub(super) host: String,
}

impl FileAnswer {
    /// 200, 206 or 416.
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// First byte and length of the whole, of an answer with a part.
    pub(super) fn range(&self) -> Option<(u64, Option<u64>)> {
        let text = text_of(self.response.headers(), &header::CONTENT_RANGE)?.strip_prefix("bytes ")?;
        let (part, whole) = text.split_once('/')?;
        Some((part.split_once('-')?.0.trim().parse().ok()?, whole.trim().parse().ok()))
    }

    /// Bytes to come, where the server says so.
    pub(super) fn length(&self) -> Option<u64> {
        self.response.body().content_length()
    }

    /// The tag of the content; only a strong one tells that two parts are of one whole.
    pub(super) fn tag(&self) -> Option<String> {
        let tag = text_of(self.response.headers(), &header::ETAG)?;
        tag.starts_with('"').then(|| tag.to_owned())
    }

    /// The content.
    pub(super) fn reader(self) -> impl std::io::Read {
        self.response.into_body().into_reader()
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Where a redirect from `uri` leads: a whole address, one without scheme, or a path.
fn redirected(uri: &Uri, target: &str) -> Option<Uri> {
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let whole = if target.starts_with("//") {
        format!("{scheme}:{target}")
    } else if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else {
        target.to_owned()
    };
    whole.parse().ok()
}

/// Percent-encodes all but letters, digits, `-_.~` and the characters `kept`.
fn encoded(text: &str, kept: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-_.~".contains(c) || kept.contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Certificates of the system; a system without any gets Mozilla's list, which is built in.
fn root_certificates() -> RootCerts {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("a certificate of the system cannot be read: {error}");
    }
    if found.certs.is_empty() {
        tracing::info!("the system has no certificates: the list of Mozilla is used");
        return RootCerts::WebPki;
    }
    found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_web_addresses() {
        let endpoint: Endpoint = " https://HuggingFace.co/ ".parse().unwrap();
        assert_eq!(endpoint.to_string(), "https://HuggingFace.co");
        assert_eq!(endpoint.origin.to_string(), "https://huggingface.co");
        assert_eq!("http://localhost:8080/hf".parse::<Endpoint>().unwrap().origin.port, 8080);
        for odd in
            ["", "huggingface.co", "ftp://a", "https://", "https://me:word@a", "https://a/?b", "https://a b"]
        {
            assert!(odd.parse::<Endpoint>().is_err(), "{odd}");
        }
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        let origin = |text: &str| Origin::of(&text.parse().unwrap()).unwrap();
        assert_eq!(origin("https://a.b/c"), origin("https://A.b:443/d"));
        assert_ne!(origin("https://a.b"), origin("http://a.b"));
        assert_ne!(origin("https://a.b"), origin("https://a.b:444"));
        assert_ne!(origin("https://a.b"), origin("https://cdn.a.b"));
    }

    #[test]
    fn redirects_lead_to_addresses_and_paths() {
        let from: Uri = "https://a.b:1/c?d".parse().unwrap();
        let to = |target: &str| redirected(&from, target).map(|uri| uri.to_string());
        assert_eq!(to("http://x.y/z").unwrap(), "http://x.y/z");
        assert_eq!(to("//x.y/z").unwrap(), "https://x.y/z");
        assert_eq!(to("/z?e=f").unwrap(), "https://a.b:1/z?e=f");
        assert_eq!(to(""), None);
    }

    #[test]
    fn names_are_encoded_for_addresses() {
        assert_eq!(encoded("refs/pr/1", ""), "refs%2Fpr%2F1");
        assert_eq!(encoded("a b/c+d.json", "/"), "a%20b/c%2Bd.json");
    }

    #[test]
    fn patience_ends_and_begins_anew() {
        let patience =
            Patience { tries: 3, first_wait: Duration::ZERO, longest_wait: Duration::from_secs(9) };
        let cancel = CancelFlag::default();
        let mut tries = Tries { patience: &patience, cancel: &cancel, failed: 0 };
        let broken = || HubError::Broken { host: "h".to_owned(), reason: "cut".to_owned() };
        let busy = |secs| HubError::Busy {
            host: "h".to_owned(),
            status: 429,
            wait: Some(Duration::from_secs(secs)),
        };
        let mut waits = Vec::new();
        let mut after =
            |tries: &mut Tries<'_>, failure| tries.after(failure, &mut |_, wait| waits.push(wait));
        assert!(after(&mut tries, broken()).is_ok() && after(&mut tries, busy(0)).is_ok());
        tries.progressed();
        assert!(after(&mut tries, broken()).is_ok() && after(&mut tries, broken()).is_ok());
        let message = after(&mut tries, broken()).unwrap_err().to_string();
        assert!(message.contains("cut (3 times") && message.contains("goes on"), "{message}");
        tries.progressed();
        // What does not pass, and what takes too long, is not waited for.
        assert!(after(&mut tries, HubError::Cancelled).is_err());
        let message = after(&mut tries, busy(10)).unwrap_err().to_string();
        assert!(message.contains("429") && message.contains("wait 10 s"), "{message}");
        tries.progressed();
        cancel.raise();
        assert!(matches!(after(&mut tries, broken()), Err(HubError::Cancelled)));
        assert_eq!(waits.len(), 5);
    }
}
