//! The tokens with a role: BOS, EOS, end of turn, and those that end a generation.
//!
//! Files often leave out the end-of-turn token, so it is also known by its text, as in llama.cpp (`llama-vocab.cpp`).

use serde::{Deserialize, Serialize};

use super::vocab::{TokenKind, Vocab};
use crate::Error;
use crate::gguf::Metadata;

/// Texts that end a turn, the likeliest first.
const END_OF_TURN: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];
/// Texts that end a generation, besides those.
const END_OF_GENERATION: &[&str] = &[
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "</s>",
    "<|eom_id|>",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
];
/// Texts after which a code model has left the file: padding, next repository, next file.
const END_OF_FILE: &[&[&str]] = &[
    &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
    &[
        "<|fim_repo|>",
        "<|repo_name|>",
        "<fim-repo>",
        "<REPO>",
        "<reponame>",
    ],
    &["<|file_sep|>"],
];

/// Tokens with a role, as the metadata and the texts of the vocabulary give them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpecialTokens {
    /// Beginning of the sequence (BERT's CLS).
    pub bos: Option<u32>,
    /// End of the sequence.
    pub eos: Option<u32>,
    /// End of a turn.
    pub eot: Option<u32>,
    /// Stands for what the vocabulary cannot spell.
    pub unk: Option<u32>,
    /// Separator (BERT's SEP).
    pub sep: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Whether `add_special` puts BOS in front.
    pub add_bos: bool,
    /// Whether `add_special` puts EOS at the end.
    pub add_eos: bool,
    /// Whether `add_special` puts SEP at the end.
    pub add_sep: bool,
    /// All tokens that end a generation, in ascending order: EOS, EOT and their kin.
    pub eog: Vec<u32>,
}

/// What holds where the metadata does not say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Defaults {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) unk: Option<u32>,
    pub(super) sep: Option<u32>,
    pub(super) pad: Option<u32>,
    pub(super) add_bos: bool,
    pub(super) add_sep: bool,
}

impl SpecialTokens {
    /// Reads the roles. Tokens that end a generation become control tokens: some files have them as plain ones.
    pub(super) fn new(metadata: &Metadata, vocab: &mut Vocab, defaults: Defaults) -> Result<Self, Error> {
        let id = |key: &str| id_of(metadata, vocab, key);
        let default = |id: Option<u32>| id.filter(|id| *id < vocab.len());
        let mut special = SpecialTokens {
            bos: id("bos")?.or(id("cls")?).or(default(defaults.bos)),
            eos: id("eos")?.or(default(defaults.eos)),
            eot: id("eot")?.or_else(|| END_OF_TURN.iter().find_map(|text| vocab.id(text))),
            unk: id("unknown")?.or(default(defaults.unk)),
            // The misspelt key is the one that files have.
            sep: id("seperator")?.or(id("separator")?).or(default(defaults.sep)),
            pad: id("padding")?.or(default(defaults.pad)),
            add_bos: flag(metadata, "add_bos_token", defaults.add_bos)?,
            add_eos: flag(metadata, "add_eos_token", false)?,
            add_sep: flag(metadata, "add_sep_token", defaults.add_sep)?,
            eog: Vec::new(),
        };
        special.check_added(metadata)?;
        special.eog = end_of_generation(metadata, vocab, &special)?;
        for &id in &special.eog {
            vocab.set_kind(id, TokenKind::Control);
        }
        Ok(special)
    }

    /// A token that is to be added must be there.
    fn check_added(&self, metadata: &Metadata) -> Result<(), Error> {
        let wanted = [
            (self.add_bos && self.bos.is_none(), "add_bos_token", "bos"),
            (self.add_eos && self.eos.is_none(), "add_eos_token", "eos"),
            (self.add_sep && self.sep.is_none(), "add_sep_token", "seperator"),
        ];
        match wanted.iter().find(|(missing, ..)| *missing) {
            Some((_, key, role)) => Err(metadata.reject(
                &format!("tokenizer.ggml.{key}"),
                format!(
                    "it holds (for this vocabulary, if unset), but there is no tokenizer.ggml.{role}_token_id"
                ),
            )),
            None => Ok(()),
        }
    }
}

/// The token id in `tokenizer.ggml.ROLE_token_id`.
fn id_of(metadata: &Metadata, vocab: &Vocab, role: &str) -> Result<Option<u32>, Error> {
    let key = format!("tokenizer.ggml.{role}_token_id");
    // Some converters write -1 for "none".
    if metadata.get(&key).is_some_and(|value| value.to_string() == "-1") {
        return Ok(None);
    }
    match metadata.opt_u32(&key)? {
        Some(u32::MAX) | None => Ok(None),
        Some(id) if id < vocab.len() => Ok(Some(id)),
        Some(id) => Err(metadata.reject(
            &key,
            format!("token {id} is outside the vocabulary of {} tokens", vocab.len()),
        )),
    }
}

fn flag(metadata: &Metadata, name: &str, default: bool) -> Result<bool, Error> {
    Ok(metadata
        .opt_bool(&format!("tokenizer.ggml.{name}"))?
        .unwrap_or(default))
}

fn end_of_generation(metadata: &Metadata, vocab: &Vocab, special: &SpecialTokens) -> Result<Vec<u32>, Error> {
    let mut eog: Vec<u32> = END_OF_TURN
        .iter()
        .chain(END_OF_GENERATION)
        .filter_map(|text| vocab.id(text))
        .collect();
    for (role, texts) in ["fim_pad", "fim_rep", "fim_sep"].iter().zip(END_OF_FILE) {
        let given = id_of(metadata, vocab, role)?;
        eog.extend(given.or_else(|| texts.iter().find_map(|text| vocab.id(text))));
    }
    eog.extend(
        [special.eos, special.eot, id_of(metadata, vocab, "eom")?]
            .into_iter()
            .flatten(),
    );
    let has = |text: &str| vocab.id(text).is_some();
    // In the harmony format and its kin <|end|> only ends one of several messages of a turn.
    let end_parts_messages =
        has("<|call|>") && has("<|return|>") || has("<|flush|>") && (has("<|call|>") || has("<|calls|>"));
    // Gemma 4 has a `</s>` that is an HTML tag.
    let s_is_text = has("<|tool_response>");
    let exempt = [(end_parts_messages, "<|end|>"), (s_is_text, "</s>")];
    for (_, text) in exempt.iter().filter(|(holds, _)| *holds) {
        eog.retain(|id| vocab.text(*id) != Some(text));
    }
    eog.sort_unstable();
    eog.dedup();
    Ok(eog)
}
