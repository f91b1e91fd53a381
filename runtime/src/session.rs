//! Sessions on the disk: a sequence's tokens with their keys and values, so that another process goes on where one left.
//!
//! A file is one line, `lathe session FORMAT DIGEST`, then a line of JSON (the [`Identity`], a note of whoever saved it,
//! and how many tokens and blocks there are), the tokens as little-endian u32, and each block: its length as little-endian
//! u32, then its content. The digest is that of all after the first line. Files are written whole under another name and
//! then renamed: readers see the old one or the new one.

use crate::cache::Digest;
use crate::engine::SavedPrefix;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The version of the format.
const FORMAT: u32 = 1;
/// The words that a file begins with.
const BEGINNING: &str = "lathe session ";

/// What keys and values depend on beside the tokens: those of another identity are of no use.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Identity {
    /// The build of Lathe that compiled the model.
    pub build: String,
    /// The id of the model's packed weights.
    pub weights: String,
    /// Features of the processor that the code uses.
    pub features: String,
    /// How keys and values are stored, as `--kv-type` names it.
    pub kv_types: String,
    /// Positions of the window of layers that have blocks of their own; 0 where none have.
    pub window: u32,
}

/// A saved sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// What it belongs to.
    pub identity: Identity,
    /// What whoever saved it wants to know again, such as the messages of a conversation.
    pub note: serde_json::Value,
    /// Tokens, keys and values.
    pub prefix: SavedPrefix,
}

#[derive(Serialize, Deserialize)]
struct Header {
    identity: Identity,
    note: serde_json::Value,
    tokens: u64,
    blocks: u64,
}

/// Why a session can't be read, used or written.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The system's.
    #[error("the session {path} can't be {what}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Read or written.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Another kind of file.
    #[error("{0} is no session that Lathe saved")]
    NoSession(PathBuf),
    /// Written by another version.
    #[error("the session {path} has format {format}, and this Lathe reads format {FORMAT}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: String,
    },
    /// Cut off, or changed.
    #[error("the session {path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        what: &'static str,
    },
    /// Of something else.
    #[error("the session {path} can't be continued here: {what}")]
    Other {
        /// The file.
        path: PathBuf,
        /// What is different.
        what: String,
    },
}

impl Identity {
    /// In words, what is different in another identity; `None` where nothing is.
    fn difference(&self, here: &Identity) -> Option<String> {
        let Identity {
            build,
            weights,
            features,
            kv_types,
            window,
        } = self;
        if *build != here.build {
            return Some(format!(
                "it was saved by Lathe {build}, and this is {}",
                here.build
            ));
        }
        if *kv_types != here.kv_types {
            let here = &here.kv_types;
            return Some(format!(
                "its keys and values are {kv_types}, not {here} (--kv-type)"
            ));
        }
        if *features != here.features {
            let here = &here.features;
            return Some(format!("it was computed with {features}, not {here}"));
        }
        if *weights != here.weights {
            let (own, here) = (short(weights), short(&here.weights));
            return Some(format!(
                "it is of another model: its weights are {own}, not {here}"
            ));
        }
        (*window != here.window).then(|| {
            let what = "layers with a sliding window keep other blocks";
            format!("it was saved with another context (--ctx), where {what}")
        })
    }
}

/// The first digits of an id.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

impl Session {
    /// Reads the session in a file; `None` where there is no file.
    ///
    /// # Errors
    /// Where it can't be read, is no session, or is damaged.
    pub fn read(path: &Path) -> Result<Option<Session>, SessionError> {
        match fs::read(path) {
            Ok(bytes) => decode(&bytes, path).map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(SessionError::Io {
                path: path.to_owned(),
                what: "read",
                source,
            }),
        }
    }

    /// Checks that it belongs to what is here.
    ///
    /// # Errors
    /// What is different.
    pub fn check(&self, here: &Identity, path: &Path) -> Result<(), SessionError> {
        match self.identity.difference(here) {
            None => Ok(()),
            Some(what) => Err(SessionError::Other {
                path: path.to_owned(),
                what,
            }),
        }
    }

    /// Writes it to a file, for this user alone. What was there before is there until all of it is written.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, path: &Path) -> Result<(), SessionError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let written = self
            .encode()
            .and_then(|bytes| write_all(&part, &bytes))
            .and_then(|()| fs::rename(&part, path));
        written.map_err(|source| {
            // What can't be removed is in nobody's way.
            let _ = fs::remove_file(&part);
            SessionError::Io {
                path: path.to_owned(),
                what: "written",
                source,
            }
        })
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let SavedPrefix { tokens, blocks } = &self.prefix;
        let header = Header {
            identity: self.identity.clone(),
            note: self.note.clone(),
            tokens: tokens.len() as u64,
            blocks: blocks.len() as u64,
        };
        let mut body = serde_json::to_vec(&header)?;
        body.push(b'\n');
        for token in tokens {
            body.extend(token.to_le_bytes());
        }
        for block in blocks {
            let len = u32::try_from(block.len()).map_err(|_| io::Error::other("a block is too large"))?;
            body.extend(len.to_le_bytes());
            body.extend_from_slice(block);
        }
        let mut bytes = format!("{BEGINNING}{FORMAT} {}\n", Digest::of(&body)).into_bytes();
        bytes.append(&mut body);
        Ok(bytes)
    }
}

/// Writes a file for this user alone, to the disk.
fn write_all(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file: File = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The line at the start of some bytes, and what follows it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&b| b == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn decode(bytes: &[u8], path: &Path) -> Result<Session, SessionError> {
    let damaged = |what| SessionError::Damaged {
        path: path.to_owned(),
        what,
    };
    let rest = bytes.strip_prefix(BEGINNING.as_bytes());
    let rest = rest.ok_or_else(|| SessionError::NoSession(path.to_owned()))?;
    let (first, body) = line(rest).ok_or_else(|| damaged("its first line is cut off"))?;
    let first = std::str::from_utf8(first).ok();
    let (format, digest) = first
        .and_then(|first| first.split_once(' '))
        .ok_or_else(|| damaged("its first line is not that of a session"))?;
    if format != FORMAT.to_string() {
        return Err(SessionError::Version {
            path: path.to_owned(),
            format: format.to_owned(),
        });
    }
    if Digest::of(body).to_string() != digest {
        return Err(damaged("it is cut off, or its content is not what was written"));
    }
    parts(body).ok_or_else(|| damaged("its parts do not fit together"))
}

/// Takes what was written apart. Nothing is allocated for what is not there.
fn parts(body: &[u8]) -> Option<Session> {
    let (header, mut rest) = line(body)?;
    let header: Header = serde_json::from_slice(header).ok()?;
    let tokens = take(&mut rest, header.tokens.checked_mul(4)?)?;
    let (tokens, _) = tokens.as_chunks::<4>();
    let tokens: Vec<u32> = tokens.iter().map(|&token| u32::from_le_bytes(token)).collect();
    let mut blocks = Vec::new();
    for _ in 0..header.blocks {
        let len = take(&mut rest, 4)?
            .first_chunk()
            .copied()
            .map(u32::from_le_bytes)?;
        blocks.push(take(&mut rest, len.into())?.to_vec());
    }
    rest.is_empty().then_some(Session {
        identity: header.identity,
        note: header.note,
        prefix: SavedPrefix { tokens, blocks },
    })
}

/// The next `count` bytes.
fn take<'a>(rest: &mut &'a [u8], count: u64) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(usize::try_from(count).ok()?)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn session() -> Session {
        Session {
            identity: Identity {
                build: "0.1.0-abc".into(),
                weights: "0123456789abcdef".into(),
                features: "x86_64+avx2".into(),
                kv_types: "f16".into(),
                window: 0,
            },
            note: json!({"messages": [{"role": "user", "content": "a\nb"}]}),
            prefix: SavedPrefix {
                tokens: (0..64).collect(),
                blocks: vec![vec![1; 100], vec![2; 60]],
            },
        }
    }

    fn read(bytes: &[u8]) -> Result<Session, String> {
        decode(bytes, Path::new("s")).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a session");
        assert_eq!(Session::read(&path).unwrap(), None);
        let mut session = session();
        session.write(&path).unwrap();
        assert_eq!(Session::read(&path).unwrap(), Some(session.clone()));
        session.prefix = SavedPrefix::default();
        session.write(&path).unwrap();
        assert_eq!(Session::read(&path).unwrap(), Some(session.clone()));
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing else is left");
        let nowhere = folder.path().join("none/session");
        let error = session.write(&nowhere).unwrap_err().to_string();
        assert!(error.contains("none/session can't be written"), "{error}");
        assert!(Session::read(folder.path()).is_err(), "a folder is no session");
    }

    #[test]
    fn other_files_are_refused_by_name() {
        assert_eq!(read(b"GGUF").unwrap_err(), "s is no session that Lathe saved");
        assert_eq!(
            read(b"lathe session 7 abc\n").unwrap_err(),
            "the session s has format 7, and this Lathe reads format 1"
        );
        for bytes in [
            &b"lathe session 1"[..],
            b"lathe session \xff\n",
            b"lathe session 1\n",
        ] {
            assert!(read(bytes).unwrap_err().starts_with("the session s is damaged"));
        }
    }

    #[test]
    fn differences_are_named() {
        let session = session();
        let own = &session.identity;
        let check = |here: Identity| session.check(&here, Path::new("s")).map_err(|e| e.to_string());
        assert_eq!(check(own.clone()), Ok(()));
        let own = || own.clone();
        for (here, part) in [
            (
                Identity {
                    build: "2".into(),
                    ..own()
                },
                "saved by Lathe 0.1.0-abc, and this is 2",
            ),
            (
                Identity {
                    kv_types: "q8_0".into(),
                    ..own()
                },
                "keys and values are f16, not q8_0",
            ),
            (
                Identity {
                    features: "x".into(),
                    ..own()
                },
                "computed with x86_64+avx2, not x",
            ),
            (
                Identity {
                    weights: "fedc".into(),
                    ..own()
                },
                "another model: its weights are 0123456789ab, not fedc",
            ),
            (Identity { window: 512, ..own() }, "another context (--ctx)"),
        ] {
            let error = check(here).unwrap_err();
            assert!(
                error.starts_with("the session s can't be continued here: ") && error.contains(part),
                "{error}"
            );
        }
    }

    /// A file whose digest is right, and nothing else need be.
    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut bytes = format!("{BEGINNING}{FORMAT} {}\n", Digest::of(body)).into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    proptest! {
        #[test]
        fn no_damage_goes_unseen(at in any::<prop::sample::Index>(), flip in 1u8..=255, cut in any::<bool>()) {
            let whole = session().encode().unwrap();
            let mut bytes = whole.clone();
            let at = at.index(whole.len());
            match cut {
                true => bytes.truncate(at),
                false => bytes[at] ^= flip,
            }
            prop_assert!(read(&bytes).is_err());
        }

        /// Whoever can write a digest can't bring anything down either.
        #[test]
        fn parts_that_do_not_fit_are_refused(at in any::<prop::sample::Index>(), with in prop::collection::vec(any::<u8>(), 0..9)) {
            let whole = session().encode().unwrap();
            let (_, body) = line(&whole).unwrap();
            let at = at.index(body.len());
            let mut changed = body[..at].to_vec();
            changed.extend_from_slice(&with);
            let _ = read(&sealed(&changed));
            changed.extend_from_slice(&body[(at + with.len()).min(body.len())..]);
            let _ = read(&sealed(&changed));
            let _ = read(&sealed(&with));
        }

        #[test]
        fn counts_allocate_nothing(tokens in any::<u64>(), blocks in 3..u64::MAX) {
            let Session { identity, note, .. } = session();
            let header = Header { identity, note, tokens, blocks };
            let mut body = serde_json::to_vec(&header).unwrap();
            body.extend([b'\n', 1, 2, 3]);
            prop_assert!(read(&sealed(&body)).is_err());
        }
    }
}
