//! From token bytes to text that may be shown: whole UTF-8 characters, and nothing that might still become a stop string.

/// Collects bytes and releases text. Its buffers grow once and are then reused.
#[derive(Debug)]
pub struct TextStream {
    stops: Vec<String>,
    longest_stop: usize,
    /// Bytes that are no whole character yet.
    partial: Vec<u8>,
    /// Characters that are held back because a stop string may begin in them.
    held: String,
    stopped: bool,
}

impl TextStream {
    /// A stream that ends before the first of `stops`; empty strings are ignored.
    pub fn new(stops: &[String]) -> TextStream {
        let stops: Vec<String> = stops.iter().filter(|s| !s.is_empty()).cloned().collect();
        let longest_stop = stops.iter().map(String::len).max().unwrap_or(0);
        TextStream {
            stops,
            longest_stop,
            partial: Vec::with_capacity(256),
            held: String::with_capacity(1024),
            stopped: false,
        }
    }

    /// Whether a stop string was met.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes the bytes of a token and hands what may be shown to `show`. Bytes that can't become a character show as
    /// U+FFFD.
    pub fn push(&mut self, bytes: &[u8], show: &mut dyn FnMut(&str)) {
        if self.stopped {
            return;
        }
        self.partial.extend_from_slice(bytes);
        self.take_characters();
        let safe = self.safe_length();
        self.release(safe, show);
    }

    /// Shows what is left: the sequence has ended.
    pub fn finish(&mut self, show: &mut dyn FnMut(&str)) {
        if self.stopped {
            return;
        }
        if !self.partial.is_empty() {
            self.partial.clear();
            self.held.push(char::REPLACEMENT_CHARACTER);
        }
        self.cut_at_stop();
        let safe = self.held.len();
        self.release(safe, show);
    }

    /// Moves whole characters, and marks for broken ones, from `partial` to `held`.
    fn take_characters(&mut self) {
        let mut done = 0;
        while done < self.partial.len() {
            match std::str::from_utf8(&self.partial[done..]) {
                Ok(text) => {
                    self.held.push_str(text);
                    done = self.partial.len();
                }
                Err(error) => {
                    let valid = done + error.valid_up_to();
                    self.held
                        .push_str(std::str::from_utf8(&self.partial[done..valid]).unwrap_or_default());
                    done = valid;
                    match error.error_len() {
                        None => break,
                        Some(broken) => {
                            self.held.push(char::REPLACEMENT_CHARACTER);
                            done += broken;
                        }
                    }
                }
            }
        }
        self.partial.drain(..done);
    }

    /// Cuts `held` before the earliest stop string in it, if there is one.
    fn cut_at_stop(&mut self) -> bool {
        let first = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min();
        if let Some(first) = first {
            self.held.truncate(first);
            self.stopped = true;
        }
        first.is_some()
    }

    /// Bytes of `held` in which no stop string can begin any more.
    fn safe_length(&mut self) -> usize {
        if self.stops.is_empty() || self.cut_at_stop() {
            return self.held.len();
        }
        let window = self
            .held
            .len()
            .saturating_sub(self.longest_stop.saturating_sub(1));
        let start = (window..self.held.len()).find(|&i| {
            self.held.is_char_boundary(i) && self.stops.iter().any(|s| s.starts_with(&self.held[i..]))
        });
        start.unwrap_or(self.held.len())
    }

    fn release(&mut self, safe: usize, show: &mut dyn FnMut(&str)) {
        if safe > 0 {
            show(&self.held[..safe]);
            self.held.drain(..safe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|s| s.to_string()).collect();
        let mut stream = TextStream::new(&stops);
        let mut shown = Vec::new();
        for piece in pieces {
            stream.push(piece, &mut |s| shown.push(s.to_owned()));
        }
        stream.finish(&mut |s| shown.push(s.to_owned()));
        (shown, stream.stopped())
    }

    #[test]
    fn characters_split_over_tokens_appear_whole() {
        let (shown, _) = run(&[], &[b"a\xe2", b"\x82", b"\xac!"]);
        assert_eq!(shown, ["a", "€!"]);
        let (shown, _) = run(&[], &[b"\xf0\x9f", b"x"]);
        assert_eq!(shown, ["\u{fffd}x"]);
        let (shown, _) = run(&[], &[b"ok\xe2\x82"]);
        assert_eq!(shown, ["ok", "\u{fffd}"]);
    }

    #[test]
    fn stop_strings_are_held_back_and_cut() {
        let (shown, stopped) = run(&["STOP"], &[b"one S", b"T", b"ART two ST", b"OP three"]);
        assert_eq!(shown.concat(), "one START two ");
        assert_eq!(shown[0], "one ");
        assert!(stopped);
        let (shown, stopped) = run(&["xyz"], &[b"ends in xy"]);
        assert_eq!((shown.concat().as_str(), stopped), ("ends in xy", false));
    }

    proptest! {
        #[test]
        fn cuts_do_not_change_the_text(text in "[abé€ ]{0,40}", stop in "[abé]{1,4}", cuts in prop::collection::vec(1usize..5, 1..40)) {
            let bytes = text.as_bytes();
            let mut pieces = Vec::new();
            let (mut from, mut n) = (0, 0);
            while from < bytes.len() {
                let to = (from + cuts[n % cuts.len()]).min(bytes.len());
                pieces.push(&bytes[from..to]);
                (from, n) = (to, n + 1);
            }
            let (shown, stopped) = run(&[&stop], &pieces);
            let want = text.split(&stop).next().unwrap();
            prop_assert_eq!(shown.concat(), want);
            prop_assert_eq!(stopped, text.contains(&stop));
        }
    }
}
