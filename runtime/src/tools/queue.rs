//! What a parser has understood and not yet handed out.

use super::Piece;

#[derive(Clone, PartialEq, Debug)]
enum Event {
    Content(String),
    Reasoning(String),
    Started(String),
    Arguments(String),
    Ended,
    Dropped,
}

/// Pieces in order; text of one kind runs together.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    events: Vec<Event>,
    /// Where the beginning of the open call stands in `events`, if it is still there.
    open: Option<usize>,
    /// Whether a call is open.
    calling: bool,
    /// Whether calls wait until they have ended.
    hold: bool,
    /// How many calls were handed out.
    handed: usize,
}

impl Queue {
    pub(super) fn hold_calls(&mut self) {
        self.hold = true;
    }

    pub(super) fn content(&mut self, text: &str) {
        match self.events.last_mut() {
            Some(Event::Content(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.events.push(Event::Content(text.to_owned())),
        }
    }

    pub(super) fn reasoning(&mut self, text: &str) {
        match self.events.last_mut() {
            Some(Event::Reasoning(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.events.push(Event::Reasoning(text.to_owned())),
        }
    }

    pub(super) fn start(&mut self, name: &str) {
        self.open = Some(self.events.len());
        self.calling = true;
        self.events.push(Event::Started(name.to_owned()));
    }

    pub(super) fn arguments(&mut self, json: &str) {
        match self.events.last_mut() {
            Some(Event::Arguments(last)) => last.push_str(json),
            _ => self.events.push(Event::Arguments(json.to_owned())),
        }
    }

    pub(super) fn end(&mut self) {
        self.events.push(Event::Ended);
        (self.open, self.calling) = (None, false);
    }

    /// Takes the open call back, if there is one.
    pub(super) fn drop_call(&mut self) {
        match self.open.take() {
            Some(at) => self.events.truncate(at),
            None if self.calling => self.events.push(Event::Dropped),
            None => {}
        }
        self.calling = false;
    }

    /// Hands out all that is ready.
    pub(super) fn drain(&mut self, out: &mut dyn FnMut(Piece)) {
        let ready = match self.open {
            Some(at) if self.hold => at,
            _ => self.events.len(),
        };
        for event in self.events.drain(..ready) {
            let index = self.handed.saturating_sub(1);
            match &event {
                Event::Content(text) => out(Piece::Content(text)),
                Event::Reasoning(text) => out(Piece::Reasoning(text)),
                Event::Started(name) => {
                    out(Piece::CallStarted {
                        index: self.handed,
                        name,
                    });
                    self.handed += 1;
                }
                Event::Arguments(json) => out(Piece::Arguments { index, json }),
                Event::Ended => out(Piece::CallEnded { index }),
                Event::Dropped => out(Piece::CallDropped { index }),
            }
        }
        self.open = match self.hold {
            true => self.open.map(|_| 0),
            false => None,
        };
    }
}
