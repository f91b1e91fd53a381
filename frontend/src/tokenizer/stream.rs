//! Bytes of tokens to text as they come: a token may end in the middle of a character.

/// Turns a stream of token bytes into text, holding back the bytes of a character until it is whole. Bytes that cannot
/// become a character are replaced by U+FFFD, as `String::from_utf8_lossy` does.
#[derive(Debug, Clone, Default)]
pub struct DecodeStream {
    pending: Vec<u8>,
}

impl DecodeStream {
    /// A stream with nothing held back.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the bytes of the next token and appends the text that is whole now to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) {
        self.pending.extend_from_slice(bytes);
        let mut done = 0;
        loop {
            let rest = &self.pending[done..];
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    out.push_str(text);
                    done = self.pending.len();
                    break;
                }
                Err(error) => error,
            };
            out.extend(
                rest[..error.valid_up_to()]
                    .utf8_chunks()
                    .map(|chunk| chunk.valid()),
            );
            done += error.valid_up_to();
            match error.error_len() {
                Some(len) => {
                    out.push(char::REPLACEMENT_CHARACTER);
                    done += len;
                }
                None => break,
            }
        }
        self.pending.drain(..done);
    }

    /// Ends the stream: a character that never became whole is replaced by U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        if !self.pending.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
    }

    /// The bytes held back: at most three.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn characters_appear_when_they_are_whole() {
        let (mut stream, mut out) = (DecodeStream::new(), String::new());
        let bytes = "a😀b".as_bytes();
        for (i, byte) in bytes.iter().enumerate() {
            stream.push(&[*byte], &mut out);
            assert_eq!(out, ["a", "a", "a", "a", "a😀", "a😀b"][i]);
        }
        stream.push(&[0xf0, 0x9f], &mut out);
        assert_eq!(stream.pending(), [0xf0, 0x9f]);
        stream.finish(&mut out);
        assert_eq!(out, "a😀b\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_lossy_text(bytes in prop::collection::vec(any::<u8>(), 0..40), cuts in prop::collection::vec(1usize..6, 0..40)) {
            let (mut stream, mut out) = (DecodeStream::new(), String::new());
            let mut rest = bytes.as_slice();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                stream.push(head, &mut out);
                prop_assert!(stream.pending().len() < 4);
                rest = tail;
            }
            stream.finish(&mut out);
            prop_assert_eq!(out, String::from_utf8_lossy(&bytes));
        }
    }
}
