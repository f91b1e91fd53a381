//! Fetching models from a local server that plays Hugging Face: redirects, ranges, what breaks and what is refused.
//! `names` has the tests of what a model's name stands for, and the real fetch from Python packages.

mod names;
mod server;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lathe::store::{Progress, Quiet, Remote, Store, StoreError};
use server::{Reply, Request, Server, sha256};
use tempfile::TempDir;

/// What the model files in these tests hold.
fn content() -> Vec<u8> {
    (0..200_000u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect()
}

/// A store in a fresh folder that fetches from `hub` alone.
fn store(hub: &str) -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("models"), remote(hub));
    (folder, store)
}

fn remote(hub: &str) -> Remote {
    Remote {
        hub: Some(hub.to_owned()),
        token: None,
        python: None,
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(10),
        retry_pause: Duration::from_millis(1),
    }
}

/// A hub whose every file is `content` on `storage`.
fn hub_before(storage: &Server, content: &[u8]) -> Server {
    let (to, content) = (format!("{}/blob", storage.address), content.to_vec());
    Server::start(move |_| Reply::linked(to.clone(), &content))
}

/// Storage that answers as it should.
fn storage(content: &[u8]) -> Server {
    let content = content.to_vec();
    Server::start(move |request| Reply::content(request, &content))
}

/// The unfinished files of a store.
fn parts(store: &Store) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(store.root().join(".partial"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "part"))
        .collect()
}

/// Remembers what it is told.
#[derive(Default)]
struct Log {
    begun: Vec<(u64, Option<u64>)>,
    advanced: u64,
    messages: Vec<String>,
}

impl Progress for Log {
    fn begin(&mut self, _what: &str, done: u64, total: Option<u64>) {
        self.begun.push((done, total));
    }
    fn advance(&mut self, bytes: u64) {
        self.advanced += bytes;
    }
    fn message(&mut self, text: &str) {
        self.messages.push(text.to_owned());
    }
}

#[test]
fn a_file_is_fetched_through_a_redirect_and_checked() {
    let content = content();
    let storage = storage(&content);
    let hub = hub_before(&storage, &content);
    let (_folder, store) = store(&hub.address);
    let mut log = Log::default();
    let path = store.pull("hf:o/r:sub/m.gguf", &mut log).unwrap();
    assert_eq!(path, store.root().join("hf/o/r/sub/m.gguf"));
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(hub.asked()[0].path, "/o/r/resolve/main/sub/m.gguf");
    assert_eq!(log.begun, [(0, Some(content.len() as u64))]);
    assert_eq!(log.advanced, content.len() as u64);
    assert!(parts(&store).is_empty());

    // It is there now: found without the network, and not fetched again.
    assert_eq!(store.find("hf:o/r:sub/m.gguf").unwrap(), Some(path.clone()));
    assert_eq!(store.find("hf:o/r").unwrap(), Some(path.clone()));
    assert_eq!(store.pull("hf:o/r:sub/m.gguf", &mut Quiet).unwrap(), path);
    assert_eq!(storage.asked().len(), 1);
}

#[test]
fn the_token_stays_with_the_hub() {
    let content = content();
    let storage = storage(&content);
    let hub = hub_before(&storage, &content);
    let folder = tempfile::tempdir().unwrap();
    let remote = Remote {
        token: Some("hf_secret".into()),
        ..remote(&hub.address)
    };
    Store::new(folder.path(), remote)
        .pull("hf:o/r:m.gguf", &mut Quiet)
        .unwrap();
    let sent = |server: &Server| -> Vec<bool> {
        server
            .asked()
            .iter()
            .map(|r| {
                r.headers
                    .get("authorization")
                    .is_some_and(|a| a == "Bearer hf_secret")
            })
            .collect()
    };
    assert_eq!(sent(&hub), [true, true]);
    assert_eq!(sent(&storage), [false]);
}

#[test]
fn redirects_on_the_hub_itself_are_followed() {
    let content = content();
    let body = content.clone();
    let hub = Server::start(move |request| match request.path.as_str() {
        "/old/r/resolve/main/m.gguf" => Reply {
            headers: vec![("Location", "/new/r/resolve/main/m.gguf".into())],
            ..Reply::status(307)
        },
        "/new/r/resolve/main/m.gguf" => {
            let mut reply = Reply::content(request, &body);
            reply.headers.push(("ETag", format!("\"{}\"", sha256(&body))));
            reply
        }
        _ => Reply::status(404),
    });
    let (_folder, store) = store(&hub.address);
    let path = store.pull("hf:old/r:m.gguf", &mut Quiet).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), content);
}

#[test]
fn redirects_that_lead_nowhere_are_refused() {
    let around = Server::start(|_| Reply {
        headers: vec![("Location", "/again".into())],
        ..Reply::status(302)
    });
    let (_folder, store) = store(&around.address);
    let error = store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("it leads to more than ten other addresses"),
        "{error}"
    );
    assert_eq!(around.asked().len(), 11);
    let nowhere = Server::start(|_| Reply::status(302));
    let store = Store::new(store.root(), remote(&nowhere.address));
    let error = store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("it leads to nowhere"), "{error}");
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let content = content();
    let body = content.clone();
    let storage = Server::start(move |request| {
        let breaks = (request.range().unwrap_or(0) < 600_000).then_some(300_000);
        Reply {
            breaks,
            ..Reply::content(request, &body)
        }
    });
    let hub = hub_before(&storage, &content);
    let (_folder, store) = store(&hub.address);
    let mut log = Log::default();
    let path = store.pull("hf:o/r:m.gguf", &mut log).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), content);
    assert_eq!(storage.ranges(), [None, Some(300_000), Some(600_000)]);
    assert!(
        log.messages.iter().any(|m| m.contains("trying again")),
        "{:?}",
        log.messages
    );
}

#[test]
fn a_fetch_that_failed_is_taken_up_by_the_next() {
    let content = content();
    let body = content.clone();
    // Sends some bytes once, then nothing any more.
    let tries = AtomicUsize::new(0);
    let broken = Server::start(move |request| {
        let some = if tries.fetch_add(1, Ordering::Relaxed) == 0 {
            123_456
        } else {
            0
        };
        Reply {
            breaks: Some(some),
            ..Reply::content(request, &body)
        }
    });
    let (_folder, store) = store(&hub_before(&broken, &content).address);
    let error = store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the connection broke after 123456 of 800000 bytes"),
        "{error}"
    );
    assert_eq!(store.find("hf:o/r:m.gguf").unwrap(), None);
    assert_eq!(std::fs::metadata(&parts(&store)[0]).unwrap().len(), 123_456);

    let whole = self::storage(&content);
    let store = Store::new(store.root(), remote(&hub_before(&whole, &content).address));
    let path = store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), content);
    assert_eq!(whole.ranges(), [Some(123_456)]);
    assert!(parts(&store).is_empty());
}

/// Puts `data` where the store keeps what it has so far of `hf:o/r:m.gguf` with the given content.
fn have_part(store: &Store, content: &[u8], data: &[u8]) {
    let name = format!("hf--o--r--m.gguf.{}.part", &sha256(content)[..12]);
    std::fs::create_dir_all(store.root().join(".partial")).unwrap();
    std::fs::write(store.root().join(".partial").join(name), data).unwrap();
}

#[test]
fn a_part_that_is_the_whole_is_only_checked() {
    let content = content();
    let storage = storage(&content);
    let (_folder, store) = store(&hub_before(&storage, &content).address);
    have_part(&store, &content, &content);
    let path = store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), content);
    assert!(storage.asked().is_empty());
}

#[test]
fn a_part_that_is_too_long_is_dropped() {
    let content = content();
    let long = vec![0; content.len() + 1];
    let storage = storage(&content);
    let (_folder, store) = store(&hub_before(&storage, &content).address);
    have_part(&store, &content, &long);
    let path = store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(storage.ranges(), [None]);

    // The same where the hub does not say how long the file is: storage then refuses the range.
    std::fs::remove_file(&path).unwrap();
    let (to, hash) = (format!("{}/blob", storage.address), sha256(&content));
    let hub = Server::start(move |_| {
        let headers = vec![("Location", to.clone()), ("X-Linked-Etag", format!("\"{hash}\""))];
        Reply {
            headers,
            ..Reply::status(302)
        }
    });
    let store = Store::new(store.root(), remote(&hub.address));
    have_part(&store, &content, &long);
    store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(storage.ranges(), [None, Some(long.len()), None]);
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let content = content();
    let body = content.clone();
    let tries = AtomicUsize::new(0);
    let storage = Server::start(move |_| {
        let breaks = (tries.fetch_add(1, Ordering::Relaxed) == 0).then_some(100_000);
        Reply {
            body: body.clone(),
            breaks,
            ..Reply::status(200)
        }
    });
    let (_folder, store) = store(&hub_before(&storage, &content).address);
    let path = store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), content);
    assert_eq!(storage.ranges(), [None, Some(100_000)]);
}

#[test]
fn a_range_that_was_not_asked_for_is_refused() {
    let content = content();
    let body = content.clone();
    let storage = Server::start(move |request| match request.range() {
        None => Reply {
            breaks: Some(100_000),
            ..Reply::content(request, &body)
        },
        Some(_) => {
            let range = format!("bytes 5-{}/{}", body.len() - 1, body.len());
            Reply {
                headers: vec![("Content-Range", range)],
                body: body[5..].to_vec(),
                ..Reply::status(206)
            }
        }
    });
    let (_folder, store) = store(&hub_before(&storage, &content).address);
    let error = store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("it was asked for the bytes from 100000 on"),
        "{error}"
    );
}

#[test]
fn data_with_the_wrong_hash_is_deleted() {
    let content = content();
    let mut other = content.clone();
    other[77] ^= 1;
    let bad = storage(&other);
    let (_folder, store) = store(&hub_before(&bad, &content).address);
    let error = store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap_err();
    let StoreError::WrongHash { found, wanted, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((found, wanted), (&sha256(&other), &sha256(&content)));
    assert_eq!(store.find("hf:o/r:m.gguf").unwrap(), None);
    assert!(parts(&store).is_empty());
}

#[test]
fn a_file_that_changed_is_fetched_anew() {
    let (old, new) = (content(), content()[..500_000].to_vec());
    let (_folder, store) = store(&hub_before(&storage(&old), &old).address);
    let path = store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap();
    let store = Store::new(store.root(), remote(&hub_before(&storage(&new), &new).address));
    assert_eq!(store.resolve("hf:o/r:m.gguf", &mut Quiet).unwrap(), path);
    assert_eq!(std::fs::read(&path).unwrap(), old);
    store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), new);
}

#[test]
fn refusals_say_what_to_do() {
    let hub = Server::start(|request: &Request| match request.path.as_str() {
        path if path.contains("/absent") => Reply::status(404),
        path if path.contains("/private") => Reply::status(401),
        path if path.contains("/gated") => Reply::status(403),
        _ => Reply::status(503),
    });
    let (_folder, store) = store(&hub.address);
    let fail = |store: &Store, model| store.pull(model, &mut Quiet).unwrap_err();
    let error = fail(&store, "hf:o/absent:m.gguf");
    assert!(
        error.is_input()
            && error
                .to_string()
                .ends_with("/o/absent/resolve/main/m.gguf: not found (404)"),
        "{error}"
    );
    let error = fail(&store, "hf:o/private:m.gguf").to_string();
    assert!(
        error.contains("access refused (401)") && error.ends_with("private or gated: set HF_TOKEN"),
        "{error}"
    );
    let error = fail(&store, "hf:o/other:m.gguf").to_string();
    assert!(error.ends_with("the server answers with status 503"), "{error}");

    let store = Store::new(
        store.root(),
        Remote {
            token: Some("hf_other".into()),
            ..remote(&hub.address)
        },
    );
    let error = fail(&store, "hf:o/gated:m.gguf").to_string();
    assert!(
        error.contains("access refused (403): HF_TOKEN gives no access"),
        "{error}"
    );
    assert!(!error.contains("hf_other"));
    let error = fail(&store, "hf:o/absent").to_string();
    assert!(
        error.ends_with("/api/models/o/absent: not found (404)"),
        "{error}"
    );
}

#[test]
fn a_server_that_is_silent_or_absent_is_given_up() {
    let silent = Server::start(|_| {
        std::thread::sleep(Duration::from_secs(30));
        Reply::status(200)
    });
    let start = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let remote = Remote {
        stall_timeout: Duration::from_millis(200),
        ..remote(&silent.address)
    };
    let error = Store::new(folder.path(), remote.clone())
        .pull("hf:o/r:m.gguf", &mut Quiet)
        .unwrap_err();
    assert!(matches!(error, StoreError::Network { .. }), "{error}");
    // Nothing listens on port 9 (discard) of this machine.
    let remote = Remote {
        hub: Some("http://127.0.0.1:9".into()),
        ..remote
    };
    let error = Store::new(folder.path(), remote)
        .pull("hf:o/r:m.gguf", &mut Quiet)
        .unwrap_err();
    assert!(matches!(error, StoreError::Network { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn two_fetches_of_a_file_are_one() {
    let content = content();
    let body = content.clone();
    let storage = Server::start(move |request| {
        std::thread::sleep(Duration::from_millis(200));
        Reply::content(request, &body)
    });
    let (_folder, store) = store(&hub_before(&storage, &content).address);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| store.pull("hf:o/r:m.gguf", &mut Quiet).unwrap());
        }
    });
    assert_eq!(storage.asked().len(), 1);
}
