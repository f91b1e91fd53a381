//! Tests of the cache as a whole, over small bundles.

use super::bundle::MANIFEST;
use super::*;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

type Notices = Arc<Mutex<Vec<String>>>;

struct Fixture {
    folder: TempDir,
    cache: Cache,
    notices: Notices,
}

impl Fixture {
    fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let notices = Notices::default();
        let told = notices.clone();
        let cache = Cache::open(&folder.path().join("cache"), "build-1", 2)
            .unwrap()
            .with_notice(Box::new(move |text| told.lock().unwrap().push(text.to_owned())));
        Fixture {
            folder,
            cache,
            notices,
        }
    }

    fn make(&self, id: &str) -> Bundle {
        self.cache.get_or_make(Kind::Plan, id, write).unwrap()
    }

    fn notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().unwrap())
    }

    fn quarantined(&self) -> usize {
        fs::read_dir(self.cache.root().join("quarantine"))
            .unwrap()
            .count()
    }
}

/// Five million bytes: three chunks.
fn large() -> Vec<u8> {
    (0..5_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn write(writer: &mut BundleWriter) -> Result<serde_json::Value, CacheError> {
    writer.write("small", b"a few bytes")?;
    let bytes = large();
    let chunks = writer.chunks("large", bytes.len() as u64)?;
    for (number, chunk) in bytes.chunks(CHUNK as usize).enumerate().rev() {
        chunks.put(number, chunk).unwrap();
    }
    writer.end_chunks(chunks)?;
    Ok(json!({"name": "tiny", "number": 7}))
}

fn id(name: &str) -> String {
    Cache::id(&[name])
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_made_is_found() {
    let fixture = Fixture::new();
    let id = id("a");
    assert!(fixture.cache.get(Kind::Plan, &id).unwrap().is_none());
    fixture.make(&id);
    let found = fixture.cache.get(Kind::Plan, &id).unwrap().unwrap();
    assert_eq!(found.read("small").unwrap(), b"a few bytes");
    assert_eq!(found.read("large").unwrap(), large());
    assert_eq!(fixture.cache.map(&found, "large").unwrap()[..], large());
    assert_eq!(
        found.data::<serde_json::Value>().unwrap(),
        json!({"name": "tiny", "number": 7})
    );
    assert_eq!((found.build(), found.bytes()), ("build-1", 5_000_011));
    assert!(fixture.cache.get(Kind::Weights, &id).unwrap().is_none());
    // It is made once.
    let again = fixture
        .cache
        .get_or_make(Kind::Plan, &id, |_| -> Result<(), CacheError> {
            panic!("it is there")
        });
    again.unwrap();
    assert_eq!(fixture.notices(), Vec::<String>::new());
    let mode = fs::metadata(found.folder().join("small"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn inputs_of_an_id_are_kept_apart() {
    let ids = [&["ab", "c"][..], &["a", "bc"], &["abc"], &["abc", ""], &["ab\nc"]].map(Cache::id);
    for (i, a) in ids.iter().enumerate() {
        assert_eq!(a.len(), 32);
        assert!(ids[i + 1..].iter().all(|b| a != b));
    }
}

#[test]
fn every_flip_and_every_cut_of_a_manifest_is_found() {
    let fixture = Fixture::new();
    let path = fixture.make(&id("a")).folder().join(MANIFEST);
    let good = fs::read(&path).unwrap();
    let open = || Bundle::open(path.parent().unwrap(), Kind::Plan);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            fs::write(&path, bad).unwrap();
            let error = open().unwrap_err();
            assert!(error.is_of_entry(), "byte {at}: {error}");
        }
        fs::write(&path, &good[..at]).unwrap();
        assert!(open().unwrap_err().is_of_entry(), "cut at {at}");
    }
    fs::write(&path, &good).unwrap();
    open().unwrap();
}

#[test]
fn damage_is_set_aside_and_made_anew() {
    let fixture = Fixture::new();
    let id = id("a");
    type Damage = fn(&Path);
    let damages: [(Damage, &str); 5] = [
        (
            |f| flip(&f.join(MANIFEST), 100),
            "its content is not what was written",
        ),
        (
            |f| fs::remove_file(f.join("small")).unwrap(),
            "small: cannot read it",
        ),
        (
            |f| fs::write(f.join("small"), "a few byte").unwrap(),
            "it has 10 bytes instead of 11",
        ),
        (
            |f| fs::remove_file(f.join(MANIFEST)).unwrap(),
            "manifest: cannot read it",
        ),
        (
            |f| fs::set_permissions(f.join("large"), fs::Permissions::from_mode(0o666)).unwrap(),
            "others may write to it (mode 0666)",
        ),
    ];
    for (number, (damage, message)) in damages.into_iter().enumerate() {
        let folder = fixture.make(&id).folder().to_owned();
        damage(&folder);
        assert!(
            fixture.cache.get(Kind::Plan, &id).unwrap().is_none(),
            "damage {number}"
        );
        let notices = fixture.notices();
        assert!(notices.len() == 1 && notices[0].contains(message), "{notices:?}");
        assert_eq!(fixture.make(&id).read("large").unwrap(), large());
    }
    // The newest few are kept for people to look at.
    assert_eq!(fixture.quarantined(), 4);
}

#[test]
fn changed_content_is_found_at_the_next_use() {
    let fixture = Fixture::new();
    let id = id("a");
    let bundle = fixture.make(&id);
    for at in [0, 2_097_151, 2_097_152, 4_999_999] {
        fixture.cache.map(&bundle, "large").unwrap();
        let path = bundle.folder().join("large");
        flip(&path, at);
        let error = fixture.cache.map(&bundle, "large").unwrap_err();
        assert!(matches!(error, CacheError::Damaged { .. }), "{error}");
        assert!(bundle.map_checked("large", 3).is_err() && bundle.read("large").is_err());
        assert!(fixture.cache.verify(&bundle).is_err());
        flip(&path, at);
    }
    fixture.cache.verify(&bundle).unwrap();
    for at in 0..11 {
        flip(&bundle.folder().join("small"), at);
        assert!(bundle.read("small").is_err());
        flip(&bundle.folder().join("small"), at);
    }
}

#[test]
fn content_is_hashed_once() {
    let fixture = Fixture::new();
    let path = fixture.folder.path().join("model");
    fs::write(&path, large()).unwrap();
    let files = [path.clone()];
    let digest = fixture.cache.content(&files, false).unwrap();
    assert_eq!(digest, Digest::of(&large()));
    assert_eq!(digest, content_digest(&path, 1).unwrap());
    // What is known is believed: the record is, with another digest in it.
    let record = fs::read_dir(fixture.cache.root().join("known"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = fs::read_to_string(&record).unwrap();
    let other = Digest::of(b"other");
    fs::write(&record, text.replace(&digest.to_string(), &other.to_string())).unwrap();
    assert_eq!(fixture.cache.content(&files, false).unwrap(), other);
    assert_eq!(fixture.cache.content(&files, true).unwrap(), digest);
    assert_eq!(fixture.cache.content(&files, false).unwrap(), digest);
    // A change at once after it was hashed is seen, with the same length and the old time of modification too.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    flip(&path, 1000);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_ne!(fixture.cache.content(&files, false).unwrap(), digest);
    // Several files are one content, in their order.
    let second = fixture.folder.path().join("second");
    fs::write(&second, "more").unwrap();
    let both = |files: [&PathBuf; 2]| fixture.cache.content(&files.map(Clone::clone), false).unwrap();
    assert_ne!(both([&path, &second]), both([&second, &path]));
}

#[test]
fn what_fails_leaves_nothing() {
    let fixture = Fixture::new();
    let result = fixture.cache.get_or_make(Kind::Plan, &id("a"), |writer| {
        writer.write("file", b"content")?;
        let chunks = writer.chunks("chunks", 10)?;
        assert!(chunks.put(0, b"too short").is_err() && chunks.put(1, b"x").is_err());
        writer.end_chunks(chunks)?;
        Ok::<_, CacheError>(())
    });
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("a chunk was not written")
    );
    assert_eq!(
        fs::read_dir(fixture.cache.root().join("plans")).unwrap().count(),
        0
    );
}

#[test]
fn what_a_killed_process_left_is_in_nobodys_way() {
    let fixture = Fixture::new();
    let partial = fixture
        .cache
        .root()
        .join("plans")
        .join(id("a"))
        .with_extension("partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("small"), "half").unwrap();
    assert!(fixture.cache.get(Kind::Plan, &id("a")).unwrap().is_none());
    assert!(fixture.cache.list().unwrap().is_empty());
    assert_eq!(fixture.make(&id("a")).read("small").unwrap(), b"a few bytes");
    assert!(!partial.exists());
}

#[test]
fn two_that_want_the_same_make_it_once() {
    let fixture = Fixture::new();
    let root = fixture.cache.root().to_owned();
    let made = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = Cache::open(&root, "build-1", 1).unwrap();
                let make = |writer: &mut BundleWriter| {
                    *made.lock().unwrap() += 1;
                    std::thread::sleep(Duration::from_millis(50));
                    write(writer)
                };
                let bundle = cache.get_or_make(Kind::Plan, &id("a"), make).unwrap();
                assert_eq!(bundle.read("large").unwrap(), large());
            });
        }
    });
    assert_eq!(*made.lock().unwrap(), 1);
}

#[test]
fn the_least_recently_used_go_first() {
    let fixture = Fixture::new();
    let cache = Cache::open(fixture.cache.root(), "build-1", 1)
        .unwrap()
        .with_most_bytes(Some(11_000_000));
    let use_at = |name: &str, seconds: u64| {
        let path = cache.root().join("plans").join(id(name)).join(MANIFEST);
        let time = SystemTime::now() - Duration::from_secs(seconds);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    };
    for (name, age) in [("a", 100), ("b", 300)] {
        cache.get_or_make(Kind::Plan, &id(name), write).unwrap();
        use_at(name, age);
    }
    cache.get_or_make(Kind::Plan, &id("c"), write).unwrap();
    let ids: Vec<String> = cache.list().unwrap().into_iter().map(|e| e.id).collect();
    assert_eq!(ids, [id("c"), id("a")]);
    // Using one makes it recent.
    use_at("c", 200);
    cache.get(Kind::Plan, &id("c")).unwrap().unwrap();
    cache.get_or_make(Kind::Plan, &id("d"), write).unwrap();
    let ids: Vec<String> = cache.list().unwrap().into_iter().map(|e| e.id).collect();
    assert_eq!(ids, [id("d"), id("c")]);
}

#[test]
fn entries_of_other_builds_go_after_a_while() {
    let fixture = Fixture::new();
    for name in ["a", "b"] {
        fixture.make(&id(name));
    }
    let path = fixture.cache.root().join("plans").join(id("a")).join(MANIFEST);
    let old = SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
    fs::File::open(path).unwrap().set_modified(old).unwrap();
    let next = Cache::open(fixture.cache.root(), "build-2", 1).unwrap();
    next.get_or_make(Kind::Plan, &id("c"), write).unwrap();
    let left: Vec<String> = next.list().unwrap().into_iter().map(|e| e.id).collect();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&id("b")) && left.contains(&id("c")));
}

#[test]
fn entries_are_found_by_the_beginning_of_their_ids() {
    let fixture = Fixture::new();
    let [a, b] = [
        "0123456789abcdef0123456789abcdef",
        "01234567ffabcdef0123456789abcdef",
    ];
    fixture.make(a);
    fixture.make(b);
    let find = |digits: &str| fixture.cache.find(Kind::Plan, digits);
    assert_eq!(find("012345678"), Ok(Some(a.to_owned())));
    assert_eq!(find(b), Ok(Some(b.to_owned())));
    assert_eq!(find("01234567").unwrap_err().len(), 2);
    for none in ["01234", "0123457", "smollm2-135m", "0123456789ABCDEF"] {
        assert_eq!(find(none), Ok(None), "{none}");
    }
}

#[test]
fn clearing_leaves_nothing_but_what_is_being_made() {
    let fixture = Fixture::new();
    fixture.make(&id("a"));
    let made = fixture.cache.get_or_make(Kind::Plan, &id("b"), |writer| {
        assert!(fixture.cache.clear().unwrap() > 5_000_000);
        write(writer)
    });
    assert_eq!(made.unwrap().read("small").unwrap(), b"a few bytes");
    let ids: Vec<String> = fixture.cache.list().unwrap().into_iter().map(|e| e.id).collect();
    assert_eq!(ids, [id("b")]);
}

#[test]
fn a_bundle_can_be_copied_and_mapped_elsewhere() {
    let fixture = Fixture::new();
    let to = fixture.folder.path().join("copy");
    fixture.make(&id("a")).copy_to(&to).unwrap();
    let copy = Bundle::open(&to, Kind::Plan).unwrap();
    assert_eq!(copy.map_checked("large", 2).unwrap()[..], large());
    assert!(matches!(
        Bundle::open(&to, Kind::Weights),
        Err(CacheError::Damaged { .. })
    ));
}

#[test]
fn a_cache_that_others_may_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = Cache::open(folder.path(), "build-1", 1).err().unwrap();
    assert!(matches!(error, CacheError::Foreign { .. }), "{error}");
}
