//! Reads the part of a model's output that holds calls, one character at a time, by a [`Program`] of small steps.
//! What a character does depends on those before it alone, so cuts in the text change nothing.

use super::fields::{Fields, Kind};
use super::json::{Json, Malformed, escape, is_space};
use super::list::Tools;
use super::literal::{Dialect, Literal};
use super::object::CallObject;
use super::python::PythonCall;
use super::queue::Queue;

/// The step to go on with.
pub(super) type Goto = usize;

/// The end of a program.
pub(super) const DONE: Goto = usize::MAX;

/// What a text up to a marker is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// The function's name: begins a call.
    Name,
    /// The name of an argument.
    Key,
    /// The value of an argument.
    Value(Kind),
    /// Nothing of interest.
    Skip,
}

/// One thing to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// White space and one of these markers. An empty one, last, is taken where no other fits, and reads nothing.
    Next(&'static [(&'static str, Goto)]),
    /// Text up to one of these markers, of which none is empty.
    Until(Slot, &'static [(&'static str, Goto)]),
    /// A call as a JSON object.
    Object,
    /// A call as a JSON object whose only key is the function's name.
    NamedObject,
    /// The arguments of the open call as a JSON object; ends the call.
    Arguments,
    /// A call in the way of Python.
    Python,
    /// The arguments of the open call in the way of Gemma, behind their opening brace; ends the call.
    Gemma,
    /// Nothing: the open call has ended.
    End,
}

impl Step {
    /// The markers that it looks for.
    pub(super) fn texts(&self) -> &'static [(&'static str, Goto)] {
        match self {
            Step::Next(texts) | Step::Until(_, texts) => texts,
            _ => &[],
        }
    }
}

/// How the calls of a form are read.
#[derive(Debug)]
pub(super) struct Program {
    /// Markers that begin calls, and the step behind them.
    pub open: &'static [(&'static str, Goto)],
    /// Markers that do so only where nothing else was said since the beginning, or since reasoning or calls.
    pub first: &'static [(&'static str, Goto)],
    /// A character that begins calls at the beginning of a line, and belongs to step 0.
    pub bare: Option<char>,
    /// Markers that may stand around content and say nothing.
    pub noise: &'static [&'static str],
    /// The steps; behind the last one the program is done.
    pub steps: &'static [Step],
}

/// What became of a character.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// It was read, and there is more to read.
    More,
    /// It was read, and the program is done.
    Done,
    /// The program was done before these characters, of which the last is the one given.
    Left(String),
}

/// Longest name, key or id.
const LONGEST_WORD: usize = 512;

#[derive(Clone, Debug)]
enum Work {
    Marker(String),
    Text { text: String, begun: bool },
    Object(CallObject),
    Arguments(Json),
    Python(PythonCall),
    Gemma(Literal),
}

/// A program at work.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    steps: &'static [Step],
    at: Goto,
    work: Work,
    fields: Option<Fields>,
    /// Whether a call has ended, and whether that is news.
    called: bool,
    just_ended: bool,
}

impl Machine {
    pub(super) fn new(program: &'static Program, at: Goto) -> Machine {
        let mut machine = Machine {
            steps: program.steps,
            at,
            work: Work::Marker(String::new()),
            fields: None,
            called: false,
            just_ended: false,
        };
        machine.work = machine.fresh_work();
        machine
    }

    fn fresh_work(&self) -> Work {
        match self.steps.get(self.at) {
            Some(Step::Until(..)) => Work::Text {
                text: String::new(),
                begun: false,
            },
            Some(Step::Object) => Work::Object(CallObject::new(false)),
            Some(Step::NamedObject) => Work::Object(CallObject::new(true)),
            Some(Step::Python) => Work::Python(PythonCall::new()),
            Some(Step::Gemma) => Work::Gemma(Literal::object(Dialect::Gemma)),
            Some(Step::Arguments) => Work::Arguments(Json::new()),
            _ => Work::Marker(String::new()),
        }
    }

    /// Takes the next character.
    pub(super) fn push(&mut self, c: char, tools: &Tools, queue: &mut Queue) -> Result<Flow, Malformed> {
        let step = self.steps.get(self.at).copied().ok_or(Malformed)?;
        match (&mut self.work, step) {
            (Work::Object(object), _) => match object.push(c, tools, queue)? {
                true => self.ended(self.at + 1, queue),
                false => Ok(Flow::More),
            },
            (Work::Python(call), _) => match call.push(c, tools, queue)? {
                true => self.ended(self.at + 1, queue),
                false => Ok(Flow::More),
            },
            (Work::Gemma(literal), _) => {
                let mut json = if literal.begun() { "" } else { "{" }.to_owned();
                literal.push(c, &mut json)?;
                let done = literal.done();
                queue.arguments(&json);
                match done {
                    true => self.end_arguments(queue),
                    false => Ok(Flow::More),
                }
            }
            (Work::Arguments(_), _) => self.arguments(c, queue),
            (Work::Text { .. }, Step::Until(slot, ends)) => self.text(c, slot, ends, tools, queue),
            (Work::Marker(_), Step::Next(markers)) => self.marker(c, markers, tools, queue),
            _ => Err(Malformed),
        }
    }

    /// Whether a call has ended since this was last asked.
    pub(super) fn take_ended(&mut self) -> bool {
        std::mem::take(&mut self.just_ended)
    }

    /// What is left of the text where it ends after a call: the beginning of a marker that did not come.
    pub(super) fn rest(&self) -> Option<&str> {
        match &self.work {
            Work::Marker(text) if self.called => Some(text),
            _ => None,
        }
    }

    fn ended(&mut self, to: Goto, queue: &mut Queue) -> Result<Flow, Malformed> {
        (self.called, self.just_ended) = (true, true);
        self.go(to, queue)
    }

    /// Goes on with another step.
    fn go(&mut self, to: Goto, queue: &mut Queue) -> Result<Flow, Malformed> {
        self.at = to;
        if let Some(Step::End) = self.steps.get(to) {
            let mut fields = self.fields.take().ok_or(Malformed)?;
            fields.end(queue);
            return self.ended(to + 1, queue);
        }
        self.work = self.fresh_work();
        Ok(match to < self.steps.len() {
            true => Flow::More,
            false => Flow::Done,
        })
    }

    fn arguments(&mut self, c: char, queue: &mut Queue) -> Result<Flow, Malformed> {
        let Work::Arguments(json) = &mut self.work else {
            return Err(Malformed);
        };
        if json.depth() == 0 && c != '{' {
            return if is_space(c) {
                Ok(Flow::More)
            } else {
                Err(Malformed)
            };
        }
        let mut text = String::new();
        match json.in_string() && c < ' ' {
            true => escape(c, &mut text),
            false => text.push(c),
        }
        json.push(c)?;
        let done = json.done();
        queue.arguments(&text);
        match done {
            true => self.end_arguments(queue),
            false => Ok(Flow::More),
        }
    }

    fn end_arguments(&mut self, queue: &mut Queue) -> Result<Flow, Malformed> {
        queue.end();
        self.fields = None;
        self.ended(self.at + 1, queue)
    }

    fn marker(
        &mut self,
        c: char,
        markers: &'static [(&'static str, Goto)],
        tools: &Tools,
        queue: &mut Queue,
    ) -> Result<Flow, Malformed> {
        let Work::Marker(text) = &mut self.work else {
            return Err(Malformed);
        };
        if text.is_empty() && c.is_whitespace() {
            return Ok(Flow::More);
        }
        text.push(c);
        if let Some(&(_, to)) = markers.iter().find(|(m, _)| *m == text.as_str()) {
            return self.go(to, queue);
        }
        if markers.iter().any(|(m, _)| m.starts_with(text.as_str())) {
            return Ok(Flow::More);
        }
        let text = std::mem::take(text);
        match markers.last() {
            Some(&("", to)) => self.otherwise(text, to, tools, queue),
            _ => Err(Malformed),
        }
    }

    /// Goes to a step with characters that were no marker.
    fn otherwise(
        &mut self,
        text: String,
        to: Goto,
        tools: &Tools,
        queue: &mut Queue,
    ) -> Result<Flow, Malformed> {
        if self.go(to, queue)? == Flow::Done {
            return Ok(Flow::Left(text));
        }
        let mut flow = Flow::More;
        for c in text.chars() {
            flow = match flow {
                Flow::More => self.push(c, tools, queue)?,
                _ => return Err(Malformed),
            };
        }
        Ok(flow)
    }

    fn text(
        &mut self,
        c: char,
        slot: Slot,
        ends: &'static [(&'static str, Goto)],
        tools: &Tools,
        queue: &mut Queue,
    ) -> Result<Flow, Malformed> {
        let Work::Text { text, begun } = &mut self.work else {
            return Err(Malformed);
        };
        let lines = slot == Slot::Value(Kind::Lines);
        if lines && !std::mem::replace(begun, true) && c == '\n' {
            return Ok(Flow::More);
        }
        text.push(c);
        if let Some(&(end, to)) = ends.iter().find(|(e, _)| text.ends_with(e)) {
            let mut text = std::mem::take(text);
            text.truncate(text.len() - end.len());
            if lines && text.ends_with('\n') {
                text.pop();
            }
            self.slot(slot, &text, tools, queue)?;
            return self.go(to, queue);
        }
        match slot {
            Slot::Value(kind) => {
                if let Some(fields) = self.fields.as_mut().filter(|f| f.streams(kind)) {
                    let ready = ready(text, ends, lines);
                    fields.part(&text[..ready], queue);
                    text.drain(..ready);
                }
            }
            Slot::Name if !tools.may_begin(text, ends) => return Err(Malformed),
            _ if text.len() > LONGEST_WORD => return Err(Malformed),
            _ => {}
        }
        Ok(Flow::More)
    }

    /// Uses a text that is complete.
    fn slot(&mut self, slot: Slot, text: &str, tools: &Tools, queue: &mut Queue) -> Result<(), Malformed> {
        match slot {
            Slot::Skip => Ok(()),
            Slot::Name => {
                let tool = tools.resolve(text).ok_or(Malformed)?;
                queue.start(&tool.name);
                self.fields = Some(Fields::new(tool.clone()));
                Ok(())
            }
            Slot::Key => {
                let fields = self.fields.as_mut().ok_or(Malformed)?;
                fields.key(text.trim_matches(is_space), queue);
                Ok(())
            }
            Slot::Value(kind) => {
                let fields = self.fields.as_mut().ok_or(Malformed)?;
                if fields.streams(kind) {
                    fields.part(text, queue);
                    fields.end_parts(queue);
                    return Ok(());
                }
                fields.whole(text, kind, queue).then_some(()).ok_or(Malformed)
            }
        }
    }
}

/// Bytes of `text` in which no marker begins; with `lines`, neither the line break before one.
fn ready(text: &str, ends: &[(&str, Goto)], lines: bool) -> usize {
    let longest = ends.iter().map(|(e, _)| e.len()).max().unwrap_or(0);
    let window = text.len().saturating_sub(longest);
    let begins = |i: usize| text.is_char_boundary(i) && ends.iter().any(|(e, _)| e.starts_with(&text[i..]));
    let start = (window..text.len()).find(|&i| begins(i)).unwrap_or(text.len());
    match lines && text[..start].ends_with('\n') {
        true => start - 1,
        false => start,
    }
}
