//! What tokens stand for, in bytes, and GPT-2's byte-level alphabet: each byte as a printable character (Radford et
//! al. 2019, `bytes_to_unicode`), so that a vocabulary of text can spell any byte.

use super::tables::{Sections, Strings};
use super::vocab::{TokenKind, Vocab};
use crate::Error;

/// The character that SentencePiece writes for a space.
pub(super) const SPACE_MARK: char = '▁';

/// How token texts spell bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2's byte-level alphabet.
    ByteLevel,
    /// UTF-8 with `▁` for a space, and `<0xAB>` tokens.
    SpaceMark,
}

/// Whether GPT-2's alphabet keeps a byte as the Latin-1 character of the same number.
fn is_kept(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The byte-level character of each byte: itself where it is printable, else the next free one from U+0100 on.
pub(super) const BYTE_CHARS: [char; 256] = {
    let mut chars = ['\0'; 256];
    let (mut byte, mut next) = (0usize, 0x100u32);
    while byte < 256 {
        let kept = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if kept { byte as u32 } else { next };
        next += if kept { 0 } else { 1 };
        chars[byte] = match char::from_u32(code) {
            Some(c) => c,
            None => panic!("not a character"),
        };
        byte += 1;
    }
    chars
};

/// Inverse of [`BYTE_CHARS`].
fn char_byte(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ 0..0x100 => u8::try_from(code).ok().filter(|byte| is_kept(*byte)),
        // The bytes that are not kept, in order: 0–32, 127–160, 173.
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 127).ok(),
        0x143 => Some(173),
        _ => None,
    }
}

/// The byte that a token like `<0x0A>` stands for.
pub(super) fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hex {
        u8::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

/// The bytes of all tokens, one after another.
pub(super) struct TokenBytes(Strings);

impl TokenBytes {
    pub(super) fn new(vocab: &Vocab, spelling: Spelling) -> Self {
        let mut all = Vec::new();
        let mut ends = Vec::with_capacity(vocab.len() as usize);
        for (_, text, kind) in vocab.iter() {
            append(&mut all, text, kind, spelling);
            ends.push(all.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        TokenBytes(Strings::new(
            starts.zip(&ends).map(|(start, &end)| &all[start..end]),
        ))
    }

    /// What [`TokenBytes::read`] reads.
    pub(super) fn sections(&self) -> [&[u8]; 2] {
        self.0.sections()
    }

    pub(super) fn read(sections: &mut Sections) -> Result<TokenBytes, Error> {
        Ok(TokenBytes(Strings::read(sections)?))
    }

    /// The bytes of a token; `None` for an id past the vocabulary.
    pub(super) fn get(&self, id: u32) -> Option<&[u8]> {
        self.0.get(id as usize)
    }
}

fn append(out: &mut Vec<u8>, text: &str, kind: TokenKind, spelling: Spelling) {
    let start = out.len();
    match (kind, spelling) {
        (TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown, _) => out.extend(text.bytes()),
        // Padding of the vocabulary stands for nothing, should a model ever pick it.
        (TokenKind::Unused, _) => {}
        (TokenKind::Byte, _) if byte_token(text).is_some() => out.extend(byte_token(text)),
        (_, Spelling::SpaceMark) => {
            for c in text.chars() {
                let c = if c == SPACE_MARK { ' ' } else { c };
                out.extend(c.encode_utf8(&mut [0; 4]).bytes());
            }
        }
        (_, Spelling::ByteLevel) => {
            for c in text.chars() {
                let Some(byte) = char_byte(c) else {
                    // Not a byte-level text after all (padding, say): it stands for itself.
                    out.truncate(start);
                    out.extend(text.bytes());
                    return;
                };
                out.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_a_bijection_with_known_points() {
        for byte in 0..=255u8 {
            assert_eq!(char_byte(BYTE_CHARS[usize::from(byte)]), Some(byte));
        }
        assert_eq!(BYTE_CHARS[usize::from(b' ')], 'Ġ');
        assert_eq!(BYTE_CHARS[usize::from(b'\n')], 'Ċ');
        assert_eq!(BYTE_CHARS[usize::from(b'a')], 'a');
        assert_eq!(char_byte(' '), None);
        assert_eq!(char_byte('ł'), Some(0xa0));
        assert_eq!(char_byte('\u{144}'), None);
    }

    #[test]
    fn byte_tokens_are_read_strictly() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        assert_eq!(byte_token("<0xff>"), Some(255));
        for text in ["<0x>", "<0x+A>", "<0x1>", "<0x123>", "0x0A", "<0xéé>"] {
            assert_eq!(byte_token(text), None, "{text}");
        }
    }
}
