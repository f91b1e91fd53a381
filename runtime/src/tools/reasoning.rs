//! How a model marks its reasoning, known from its chat template and the prompt.

use super::markers;

/// The marks around a model's reasoning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reasoning {
    /// What begins it.
    pub open: String,
    /// What ends it.
    pub close: String,
    /// Whether the prompt ends within reasoning, so that the answer begins there.
    pub starts_inside: bool,
}

/// Marks that templates use.
const MARKS: &[(&str, &str)] = &[
    ("<|channel|>analysis<|message|>", END_OF_MESSAGE),
    ("<think>", "</think>"),
    ("<mm:think>", "</mm:think>"),
    ("<seed:think>", "</seed:think>"),
    ("<think:opensource>", "</think:opensource>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"),
    ("<|think|>", END_OF_MESSAGE),
];

/// Ends more than reasoning, so that it shows none.
const END_OF_MESSAGE: &str = "<|end|>";

impl Reasoning {
    /// All that looks like a token of its own in the marks; see [`super::Format::markers`].
    pub fn markers(&self) -> Vec<&str> {
        [&self.open, &self.close]
            .into_iter()
            .flat_map(|mark| markers::all(mark))
            .collect()
    }

    /// The marks that a chat template has, given also the prompt that it made (its end is enough).
    ///
    /// A template may spell its marks out or put them together; in the second case the prompt must show one.
    pub fn of_template(template: &str, prompt: &str) -> Option<Reasoning> {
        let prompt = prompt.trim_end();
        let has = |mark: &str| {
            let mark = mark.trim_end();
            template.contains(mark) || prompt.ends_with(mark)
        };
        let &(open, close) = MARKS
            .iter()
            .find(|(open, close)| has(open) || *close != END_OF_MESSAGE && has(close))?;
        Some(Reasoning {
            open: open.to_owned(),
            close: close.to_owned(),
            starts_inside: prompt.ends_with(open.trim_end()),
        })
    }
}
