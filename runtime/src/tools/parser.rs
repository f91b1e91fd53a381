//! The incremental parser: content, reasoning and calls, told apart one character at a time.

use super::list::Tools;
use super::machine::{Flow, Machine, Program};
use super::queue::Queue;
use super::{Format, Piece, Reasoning};

#[derive(Clone, Debug)]
enum Mode {
    Content,
    Reasoning,
    Calls(Box<Machine>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Marker {
    /// Begins reasoning, or says once more that it has begun.
    Think,
    /// Ends reasoning.
    Answer,
    /// Begins calls, at this step of the program.
    Call(usize),
    /// Begins calls, and belongs to them.
    Bare,
    /// Says nothing.
    Noise,
}

/// Takes a model's output as it comes, and gives its pieces.
///
/// What a character means depends on the characters before it alone, so the pieces of one kind, put together, are the
/// same however the output was cut. Held back are only white space before what may become a marker, the beginning of
/// such a marker, and a call until the name of its function is known. White space around calls, and at both ends of
/// reasoning, is dropped.
///
/// Nothing that the model wrote is lost: what looks like a call and is none (broken JSON, a function that the request
/// does not offer, an end that never comes) is content, from its opening marker up to where it went wrong. That may
/// show after [`Piece::CallStarted`]; then [`Piece::CallDropped`] takes the call back. [`Parser::hold_calls`] is for
/// consumers who can't take back.
#[derive(Clone, Debug)]
pub struct Parser {
    program: Option<&'static Program>,
    tools: Tools,
    reasoning: Option<Reasoning>,
    mode: Mode,
    queue: Queue,
    /// White space that may turn out to stand before a marker.
    space: String,
    /// The beginning of what may become a marker.
    pending: String,
    /// The text since the last call ended, or since calls began.
    raw: String,
    /// Whether nothing but white space was seen since the beginning, or since the last reasoning or calls.
    fresh: bool,
    /// Whether white space is dropped here.
    swallow: bool,
}

impl Parser {
    /// A parser of one answer. Without tools it finds no calls, but it should be given the format all the same: some
    /// have markers around content, which are dropped. Without `reasoning`, marks of reasoning are content.
    pub fn new(format: Option<Format>, reasoning: Option<Reasoning>, tools: &Tools) -> Parser {
        let inside = reasoning.as_ref().is_some_and(|r| r.starts_inside);
        Parser {
            program: format.map(Format::program),
            tools: tools.clone(),
            reasoning,
            mode: if inside { Mode::Reasoning } else { Mode::Content },
            queue: Queue::default(),
            space: String::new(),
            pending: String::new(),
            raw: String::new(),
            fresh: true,
            swallow: inside,
        }
    }

    /// Keeps the pieces of a call back until it has ended, so that none is ever dropped.
    #[must_use]
    pub fn hold_calls(mut self) -> Parser {
        self.queue.hold_calls();
        self
    }

    /// Takes more of the output.
    pub fn push(&mut self, text: &str, out: &mut dyn FnMut(Piece)) {
        text.chars().for_each(|c| self.take(c));
        self.queue.drain(out);
    }

    /// Gives what was held back: the output has ended.
    pub fn finish(&mut self, out: &mut dyn FnMut(Piece)) {
        if let Mode::Calls(machine) = &self.mode {
            let rest = machine.rest().unwrap_or(&self.raw).to_owned();
            self.queue.drop_call();
            self.queue.content(&rest);
            self.raw.clear();
            self.mode = Mode::Content;
        }
        let rest = std::mem::take(&mut self.space) + &std::mem::take(&mut self.pending);
        self.show(&rest);
        self.queue.drain(out);
    }

    fn take(&mut self, c: char) {
        match &mut self.mode {
            Mode::Calls(machine) => {
                self.raw.push(c);
                let flow = machine.push(c, &self.tools, &mut self.queue);
                if machine.take_ended() {
                    self.raw.clear();
                }
                match flow {
                    Ok(Flow::More) => {}
                    Ok(Flow::Done) => self.leave(""),
                    Ok(Flow::Left(rest)) => self.leave(&rest),
                    Err(_) => self.fail(c),
                }
            }
            _ => self.read(c),
        }
    }

    /// Goes on behind calls.
    fn leave(&mut self, rest: &str) {
        self.raw.clear();
        self.mode = Mode::Content;
        (self.fresh, self.swallow) = (true, true);
        rest.chars().for_each(|c| self.take(c));
    }

    /// Makes content of a call that is none; `c` is the character that does not fit.
    fn fail(&mut self, c: char) {
        self.queue.drop_call();
        self.raw.pop();
        let raw = std::mem::take(&mut self.raw);
        let text = raw.trim_end();
        self.mode = Mode::Content;
        self.show(text);
        self.space.push_str(&raw[text.len()..]);
        self.take(c);
    }

    /// Takes a character of content or reasoning.
    fn read(&mut self, c: char) {
        self.pending.push(c);
        while let Some(first) = self.pending.chars().next() {
            if first.is_whitespace() {
                self.pending.remove(0);
                if !self.swallow {
                    self.space.push(first);
                }
                continue;
            }
            if let Some(marker) = self.marker() {
                return self.act(marker);
            }
            if self.may_be_marker() {
                return;
            }
            self.pending.remove(0);
            let space = std::mem::take(&mut self.space);
            self.show(&space);
            self.show(first.encode_utf8(&mut [0; 4]));
        }
    }

    /// Shows text of the current kind.
    fn show(&mut self, text: &str) {
        match self.mode {
            Mode::Reasoning => self.queue.reasoning(text),
            _ => self.queue.content(text),
        }
        if !text.is_empty() {
            (self.fresh, self.swallow) = (false, false);
        }
    }

    fn at_line_start(&self) -> bool {
        self.fresh || self.space.contains('\n')
    }

    /// The first of the markers that may stand here and fit.
    fn find_marker(&self, fits: &dyn Fn(&str) -> bool) -> Option<Marker> {
        let reasoning = self.reasoning.as_ref();
        let open = reasoning
            .filter(|r| self.fresh && fits(&r.open))
            .map(|_| Marker::Think);
        if matches!(self.mode, Mode::Reasoning) {
            let close = reasoning.filter(|r| fits(&r.close)).map(|_| Marker::Answer);
            return close.or(open);
        }
        open.or_else(|| self.program.and_then(|p| self.program_marker(p, fits)))
    }

    fn program_marker(&self, program: &Program, fits: &dyn Fn(&str) -> bool) -> Option<Marker> {
        let noise = program.noise.iter().find(|m| fits(m));
        if self.tools.is_empty() {
            return noise.map(|_| Marker::Noise);
        }
        let first = program.first.iter().filter(|_| self.fresh);
        let call = program.open.iter().chain(first).find(|(m, _)| fits(m));
        let bare = program.bare.filter(|_| self.at_line_start());
        let bare = bare.filter(|b| fits(b.encode_utf8(&mut [0; 4])));
        call.map(|&(_, to)| Marker::Call(to))
            .or(bare.map(|_| Marker::Bare))
            .or(noise.map(|_| Marker::Noise))
    }

    fn marker(&self) -> Option<Marker> {
        self.find_marker(&|m| m == self.pending)
    }

    fn may_be_marker(&self) -> bool {
        self.find_marker(&|m| m.starts_with(&self.pending)).is_some()
    }

    fn act(&mut self, marker: Marker) {
        let text = std::mem::take(&mut self.pending);
        match marker {
            Marker::Think | Marker::Answer => {
                self.space.clear();
                self.mode = match marker {
                    Marker::Think => Mode::Reasoning,
                    _ => Mode::Content,
                };
                (self.fresh, self.swallow) = (true, true);
            }
            Marker::Noise => (self.fresh, self.swallow) = (true, true),
            Marker::Call(at) => self.begin_calls(at, text),
            Marker::Bare => {
                self.begin_calls(0, String::new());
                text.chars().for_each(|c| self.take(c));
            }
        }
    }

    fn begin_calls(&mut self, at: usize, marker: String) {
        let Some(program) = self.program else { return };
        self.raw = std::mem::take(&mut self.space) + &marker;
        self.mode = Mode::Calls(Box::new(Machine::new(program, at)));
    }
}
