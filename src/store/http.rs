//! HTTP as the store needs it: redirects followed by hand, so that the token stays with the host it is for, and
//! transfers that go on where they broke off.

use std::io::Read;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::partial::Partial;
use super::{Progress, Remote, StoreError};

/// Redirects followed before giving up.
const MAX_REDIRECTS: usize = 10;
/// Transfers in a row that may fail without a single byte before the fetch fails.
const MAX_FAILURES: u32 = 4;
/// Bytes read at a time.
const CHUNK: usize = 1 << 18;

/// A client for one hub.
pub(super) struct Http {
    agent: Agent,
    hub: Uri,
    token: Option<String>,
    pause: Duration,
}

/// What is asked of an address.
#[derive(Clone, Copy, PartialEq)]
enum Ask {
    /// The headers alone, of this host.
    Head,
    /// The content from this byte on.
    Get(u64),
}

impl Http {
    /// A client for the hub of `remote`.
    pub(super) fn new(remote: &Remote, hub: &str) -> Result<Http, StoreError> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // A compressed answer would have another length and other ranges.
            .accept_encoding("identity")
            .user_agent(concat!("lathe/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(remote.connect_timeout))
            .timeout_connect(Some(remote.connect_timeout))
            .timeout_recv_response(Some(remote.stall_timeout))
            .timeout_per_read(Some(remote.stall_timeout))
            .build()
            .new_agent();
        let bad = |problem: &str| StoreError::Answer {
            what: hub.to_owned(),
            problem: problem.to_owned(),
        };
        let uri: Uri = hub.parse().map_err(|_| bad("HF_ENDPOINT is no address"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
            return Err(bad("HF_ENDPOINT is no http:// or https:// address"));
        }
        if remote
            .token
            .as_ref()
            .is_some_and(|t| !t.bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err(bad("HF_TOKEN has characters that no token has"));
        }
        Ok(Http {
            agent,
            hub: uri,
            token: remote.token.clone(),
            pause: remote.retry_pause,
        })
    }

    /// The headers of `url`: of every answer on the way that the hub itself gives, the last first.
    pub(super) fn head(&self, url: &str) -> Result<Vec<HeaderMap>, StoreError> {
        let mut seen = Vec::new();
        self.send(url, Ask::Head, &mut seen)?;
        seen.reverse();
        Ok(seen)
    }

    /// The text at `url`, of at most ten megabytes.
    pub(super) fn text(&self, url: &str) -> Result<String, StoreError> {
        let mut answer = self.send(url, Ask::Get(0), &mut Vec::new())?;
        answer
            .body_mut()
            .read_to_string()
            .map_err(|error| network(url, &error))
    }

    /// Appends what is missing of `url` to `partial`; `total` is the size of the whole, if that is known.
    ///
    /// A transfer that breaks goes on where it stopped, as long as every few tries bring something.
    pub(super) fn download(
        &self,
        url: &str,
        total: Option<u64>,
        partial: &mut Partial,
        progress: &mut dyn Progress,
    ) -> Result<(), StoreError> {
        let mut failures = 0;
        loop {
            let before = partial.len();
            let Err(error) = self.transfer(url, total, partial, progress) else {
                return Ok(());
            };
            failures = if partial.len() > before { 1 } else { failures + 1 };
            if !error.is_transient() || failures > MAX_FAILURES {
                return Err(error);
            }
            progress.message(&format!("trying again: {error}"));
            std::thread::sleep(self.pause * failures);
        }
    }

    /// One try of [`Http::download`].
    fn transfer(
        &self,
        url: &str,
        total: Option<u64>,
        partial: &mut Partial,
        progress: &mut dyn Progress,
    ) -> Result<(), StoreError> {
        if total.is_some_and(|total| partial.len() > total) {
            partial.truncate(0)?;
        }
        if total == Some(partial.len()) && partial.len() > 0 {
            return Ok(());
        }
        let answer = self.send(url, Ask::Get(partial.len()), &mut Vec::new())?;
        let total = match answer.status().as_u16() {
            206 => Some(resumed(url, answer.headers(), partial.len())?),
            // The server has less than there is here: its file is another one.
            416 => {
                partial.truncate(0)?;
                return Err(StoreError::Network {
                    what: url.to_owned(),
                    problem: "the range does not exist".into(),
                });
            }
            // The server sends everything: a new file, or one that knows no ranges.
            _ => {
                partial.truncate(0)?;
                total.or_else(|| number(answer.headers(), "content-length"))
            }
        };
        let name = url.rsplit('/').next().unwrap_or(url);
        progress.begin(name, partial.len(), total);
        copy(url, answer, total, partial, progress)
    }

    /// Sends one request and follows its redirects. Adds to `seen` the headers that the hub itself answers with. The
    /// answer is a success, or 416 to a request for a range.
    fn send(&self, url: &str, ask: Ask, seen: &mut Vec<HeaderMap>) -> Result<Response<Body>, StoreError> {
        let mut at: Uri = url.parse().map_err(|_| bad_redirect(url, url))?;
        for _ in 0..=MAX_REDIRECTS {
            let own = same_origin(&at, &self.hub);
            let mut request = match ask {
                Ask::Head => self.agent.head(&at),
                Ask::Get(_) => self.agent.get(&at),
            };
            if let (Some(token), true) = (&self.token, own) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let Ask::Get(from @ 1..) = ask {
                request = request.header("range", format!("bytes={from}-"));
            }
            let answer = request.call().map_err(|error| network(&at.to_string(), &error))?;
            if own {
                seen.push(answer.headers().clone());
            }
            let status = answer.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return self.judge(url, ask, answer);
            }
            let location = answer.headers().get("location").and_then(|l| l.to_str().ok());
            let next = location
                .and_then(|l| join(&at, l))
                .ok_or_else(|| bad_redirect(url, "nowhere"))?;
            if at.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(bad_redirect(url, "an unprotected address"));
            }
            // The headers of other hosts say nothing of the hub's file, and may be hard to get.
            if ask == Ask::Head && !same_origin(&next, &self.hub) {
                return Ok(answer);
            }
            at = next;
        }
        Err(bad_redirect(url, "more than ten other addresses"))
    }

    /// The answer if it is one that can be used, or else what is wrong.
    fn judge(&self, url: &str, ask: Ask, answer: Response<Body>) -> Result<Response<Body>, StoreError> {
        let what = url.to_owned();
        match answer.status().as_u16() {
            200 => Ok(answer),
            206 | 416 if matches!(ask, Ask::Get(1..)) => Ok(answer),
            404 => Err(StoreError::NotFound(what)),
            status @ (401 | 403) => {
                let hint = if self.token.is_some() {
                    "HF_TOKEN gives no access to it, or it does not exist"
                } else {
                    "it does not exist, or is private or gated: set HF_TOKEN"
                };
                Err(StoreError::Refused { what, status, hint })
            }
            status => Err(StoreError::Status { what, status }),
        }
    }
}

/// Appends the body of `answer`, which ends the file of `total` bytes.
fn copy(
    url: &str,
    answer: Response<Body>,
    total: Option<u64>,
    partial: &mut Partial,
    progress: &mut dyn Progress,
) -> Result<(), StoreError> {
    let broke = |done: u64, why: String| StoreError::Network {
        what: url.to_owned(),
        problem: match total {
            Some(total) => format!("the connection broke after {done} of {total} bytes{why}"),
            None => format!("the connection broke after {done} bytes{why}"),
        },
    };
    let mut reader = answer.into_body().into_reader();
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = reader
            .read(&mut chunk)
            .map_err(|error| broke(partial.len(), format!(": {error}")))?;
        if n == 0 {
            break;
        }
        if total.is_some_and(|total| partial.len() + n as u64 > total) {
            partial.truncate(0)?;
            let problem = "it sends more bytes than it promised".to_owned();
            return Err(StoreError::Answer {
                what: url.to_owned(),
                problem,
            });
        }
        partial.write(&chunk[..n])?;
        progress.advance(n as u64);
    }
    match total {
        Some(total) if partial.len() < total => Err(broke(partial.len(), String::new())),
        _ => Ok(()),
    }
}

/// The size of the whole file that a partial answer states, which must start at byte `from`.
fn resumed(url: &str, headers: &HeaderMap, from: u64) -> Result<u64, StoreError> {
    let range = headers.get("content-range").and_then(|r| r.to_str().ok());
    let parsed = range.and_then(|r| r.strip_prefix("bytes ")).and_then(|r| {
        let (span, total) = r.split_once('/')?;
        let (start, _) = span.split_once('-')?;
        Some((start.parse::<u64>().ok()?, total.parse::<u64>().ok()?))
    });
    match parsed {
        Some((start, total)) if start == from => Ok(total),
        _ => Err(StoreError::Answer {
            what: url.to_owned(),
            problem: format!("it was asked for the bytes from {from} on, and sends {range:?}"),
        }),
    }
}

/// The value of a header that is a number.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// Whether two addresses are of the same server.
fn same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| {
        uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        })
    };
    a.scheme() == b.scheme() && a.host() == b.host() && port(a) == port(b)
}

/// Where `location` leads, seen from `base` (RFC 3986, section 5, without `..`).
fn join(base: &Uri, location: &str) -> Option<Uri> {
    let scheme = base.scheme_str()?;
    let text = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{}{location}", base.authority()?)
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{}{folder}/{location}", base.authority()?)
    };
    let uri: Uri = text.parse().ok()?;
    (matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()).then_some(uri)
}

fn bad_redirect(url: &str, to: &str) -> StoreError {
    StoreError::Answer {
        what: url.to_owned(),
        problem: format!("it leads to {to}"),
    }
}

/// An error of the connection to `url`.
fn network(url: &str, error: &ureq::Error) -> StoreError {
    // What follows `?` in a redirect is a signature that gives access.
    let what = url.split('?').next().unwrap_or(url).to_owned();
    StoreError::Network {
        what,
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_join() {
        let base: Uri = "https://hub.test/a/b?x=1".parse().unwrap();
        let to = |location: &str| join(&base, location).map(|uri| uri.to_string());
        assert_eq!(
            to("https://cdn.test/f?sig=1").as_deref(),
            Some("https://cdn.test/f?sig=1")
        );
        assert_eq!(to("//cdn.test/f").as_deref(), Some("https://cdn.test/f"));
        assert_eq!(to("/f").as_deref(), Some("https://hub.test/f"));
        assert_eq!(to("f").as_deref(), Some("https://hub.test/a/f"));
        assert_eq!(to("ftp://cdn.test/f"), None);
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://hub.test/a", "https://hub.test:443/b"));
        assert!(!same("https://hub.test/", "https://hub.test.evil/"));
        assert!(!same("https://hub.test/", "http://hub.test/"));
        assert!(!same("http://hub.test:1/", "http://hub.test:2/"));
    }
}
