//! A tokenizer as flat tables: one run of bytes that is used where it lies, in memory or in a mapped file, with nothing to
//! build at the start.
//!
//! ```text
//! u64 sections · [u64 offset, u64 length] of each · the sections, each at a multiple of 8 bytes
//! ```
//!
//! All numbers are little-endian. The first section is JSON and holds what is small; the others are arrays that the parts
//! of the tokenizer read through [`View`]s. Whoever keeps the bytes checks that they are what was written; here nothing
//! panics or runs forever when they are not.

use std::ops::Range;
use std::sync::Arc;

use crate::Error;

/// Bytes that several views share.
pub type Shared = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A part of shared bytes.
#[derive(Clone)]
pub(super) struct View {
    bytes: Shared,
    range: Range<usize>,
}

impl From<Vec<u8>> for View {
    fn from(bytes: Vec<u8>) -> View {
        let range = 0..bytes.len();
        View {
            bytes: Arc::new(bytes),
            range,
        }
    }
}

impl FromIterator<u32> for View {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> View {
        let bytes: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
        View::from(bytes)
    }
}

impl View {
    pub(super) fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref().get(self.range.clone()).unwrap_or_default()
    }

    /// How many u32 there are.
    pub(super) fn len(&self) -> usize {
        self.range.len() / 4
    }

    /// The u32 of this number.
    pub(super) fn get(&self, index: usize) -> Option<u32> {
        let bytes = self.bytes().get(index.checked_mul(4)?..)?;
        bytes.first_chunk().map(|b| u32::from_le_bytes(*b))
    }

    /// The `N` u32 of record `index`.
    pub(super) fn record<const N: usize>(&self, index: usize) -> Option<[u32; N]> {
        let start = index.checked_mul(4 * N)?;
        let bytes = self.bytes().get(start..start.checked_add(4 * N)?)?;
        let mut record = [0; N];
        for (number, bytes) in record.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *number = u32::from_le_bytes(*bytes);
        }
        Some(record)
    }
}

/// Strings of bytes one after another, by number.
#[derive(Clone)]
pub(super) struct Strings {
    bytes: View,
    /// Where each ends.
    ends: View,
}

impl Strings {
    /// Of strings that are together shorter than 4 GiB.
    pub(super) fn new<'a>(strings: impl IntoIterator<Item = &'a [u8]>) -> Strings {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for string in strings {
            bytes.extend(string);
            ends.push(bytes.len() as u32);
        }
        Strings {
            bytes: View::from(bytes),
            ends: ends.into_iter().collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        let end = self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => self.ends.get(before)?,
            None => 0,
        };
        self.bytes.bytes().get(start as usize..end as usize)
    }

    pub(super) fn sections(&self) -> [&[u8]; 2] {
        [self.bytes.bytes(), self.ends.bytes()]
    }

    pub(super) fn read(sections: &mut Sections) -> Result<Strings, Error> {
        Ok(Strings {
            bytes: sections.next()?,
            ends: sections.next()?,
        })
    }
}

/// Sections one after another, behind a table of them.
pub(super) fn join(sections: &[&[u8]]) -> Vec<u8> {
    let mut out = (sections.len() as u64).to_le_bytes().to_vec();
    let mut offset = 8 + 16 * sections.len();
    for section in sections {
        out.extend((offset as u64).to_le_bytes());
        out.extend((section.len() as u64).to_le_bytes());
        offset += section.len().next_multiple_of(8);
    }
    for section in sections {
        out.extend(*section);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}

/// The sections of some bytes, in order.
pub(super) struct Sections {
    bytes: Shared,
    next: usize,
    count: usize,
}

impl Sections {
    pub(super) fn new(bytes: Shared) -> Result<Sections, Error> {
        let count = number((*bytes).as_ref(), 0).ok_or_else(|| Error::Tables("no table".into()))?;
        Ok(Sections {
            bytes,
            next: 0,
            count,
        })
    }

    /// The next section.
    pub(super) fn next(&mut self) -> Result<View, Error> {
        let section = self.next;
        let error = || Error::Tables(format!("no section {section}"));
        if section >= self.count {
            return Err(error());
        }
        self.next += 1;
        let bytes = (*self.bytes).as_ref();
        let at = 8 + 16 * section;
        let range = number(bytes, at).zip(number(bytes, at + 8));
        let range = range.and_then(|(offset, len)| Some(offset..offset.checked_add(len)?));
        let range = range.filter(|r| r.end <= bytes.len()).ok_or_else(error)?;
        Ok(View {
            bytes: self.bytes.clone(),
            range,
        })
    }
}

/// The u64 at a byte.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u64::from_le_bytes(*bytes)).ok()
}

/// A hash that is the same in every process: FNV-1a over 8 bytes at a time, mixed at the end. Tables choose their `seed`
/// by their content, so that no content is known to make long probes.
pub(super) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for word in words {
        hash = mix((hash ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME));
    }
    for &byte in rest {
        hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    }
    mix(hash ^ bytes.len() as u64)
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
