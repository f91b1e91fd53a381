//! Tests of whole tokenizers over tiny vocabularies.

use proptest::prelude::*;
use std::sync::Arc;

use super::testing::{bpe, metadata, spm};
use super::{EncodeOptions, TokenKind, Tokenizer};
use crate::gguf::{Array, Metadata, Value};

const MERGES: [&str; 5] = ["l l", "h e", "he ll", "hell o", "Ġ w"];

fn build(metadata: &Metadata) -> Tokenizer {
    again(&Tokenizer::from_metadata(metadata).unwrap())
}

/// The same tokenizer from its tables, as a compiled plan has it.
fn again(tokenizer: &Tokenizer) -> Tokenizer {
    let bytes = tokenizer.to_bytes();
    let again = Tokenizer::from_bytes(Arc::new(bytes.clone())).unwrap();
    assert!(again.to_bytes() == bytes);
    again
}

fn plain(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, EncodeOptions::PLAIN)
}

fn with(mut metadata: Metadata, key: &str, value: Value) -> Metadata {
    assert!(metadata.insert(&format!("tokenizer.ggml.{key}"), value));
    metadata
}

fn error(metadata: &Metadata) -> String {
    let message = Tokenizer::from_metadata(metadata).unwrap_err().to_string();
    assert!(
        message.starts_with("test.gguf: ") && !message.contains('\n'),
        "{message}"
    );
    message
}

#[test]
fn bpe_merges_by_rank_within_pieces() {
    let tokenizer = build(&bpe("gpt-2", &MERGES, &[]));
    let ids = plain(&tokenizer, "hello world");
    let expected = ["hello", "Ġw", "o", "r", "l", "d"].map(|text| tokenizer.token_to_id(text).unwrap());
    assert_eq!(ids, expected);
    assert_eq!(tokenizer.decode(&ids, false), "hello world");
    assert_eq!(plain(&tokenizer, ""), [0u32; 0]);
    assert_eq!(plain(&tokenizer, "é"), [0xc3, 0xa9]);
}

#[test]
fn special_tokens_follow_the_options() {
    let added = [("<s>", 3), ("<|im_end|>", 3), ("<tool>", 4)];
    let metadata = bpe("llama-bpe", &MERGES, &added);
    let tokenizer = build(&with(metadata, "bos_token_id", Value::U32(261)));
    assert_eq!(
        tokenizer.encode("<|im_end|><tool>", EncodeOptions::PROMPT),
        [261, 262, 263]
    );
    assert_eq!(
        tokenizer.encode("<|im_end|><tool>", EncodeOptions::TEMPLATED),
        [262, 263]
    );
    let ids = plain(&tokenizer, "<|im_end|><tool>");
    assert_eq!(ids.len(), "<|im_end|>".len() + 1);
    assert!(ids.ends_with(&[263]) && !ids.contains(&262));
    assert_eq!(tokenizer.eot(), Some(262));
    assert!(tokenizer.is_eog(262) && !tokenizer.is_eog(261));
    assert_eq!(tokenizer.decode(&[261, 104, 262, 263, 999], true), "h<tool>");
    assert_eq!(tokenizer.decode(&[261, 104, 262], false), "<s>h<|im_end|>");
}

#[test]
fn tokens_that_end_a_generation_are_control_tokens() {
    let tokenizer = build(&bpe(
        "gpt-2",
        &[],
        &[("<|im_end|>", 4), ("<|fim_pad|>", 1), ("<|end|>", 3)],
    ));
    assert_eq!(tokenizer.special().eog, [256, 257, 258]);
    assert_eq!(tokenizer.token_kind(256), Some(TokenKind::Control));
    let harmony = build(&bpe(
        "gpt-2",
        &[],
        &[("<|end|>", 3), ("<|return|>", 3), ("<|call|>", 3)],
    ));
    assert!(harmony.is_eog(257) && harmony.is_eog(258));
}

#[test]
fn ignore_merges_takes_whole_pieces() {
    // No merge leads to "abc"; llama-bpe takes it as a whole, gpt-2 cannot reach it.
    let added = [("abc", 1), ("<s>", 3)];
    let llama = build(&with(
        bpe("llama-bpe", &MERGES, &added),
        "bos_token_id",
        Value::U32(262),
    ));
    assert_eq!(plain(&llama, "abc"), [261]);
    assert_eq!(plain(&build(&bpe("gpt-2", &MERGES, &added)), "abc"), [97, 98, 99]);
}

#[test]
fn spm_merges_by_score_with_byte_fallback() {
    let pieces = [
        ("▁", -9.0),
        ("a", -8.0),
        ("b", -8.0),
        ("▁a", -3.0),
        ("ab", -1.0),
        ("▁ab", -2.0),
    ];
    let tokenizer = build(&spm(&pieces));
    let id = |text| tokenizer.token_to_id(text).unwrap();
    assert_eq!(plain(&tokenizer, "ab"), [id("▁ab")]);
    assert_eq!(plain(&tokenizer, "a ab"), [id("▁a"), id("▁ab")]);
    // The best score is merged first, though "▁a" comes first in the text.
    assert_eq!(plain(&tokenizer, "abb"), [id("▁ab"), id("b")]);
    assert_eq!(plain(&tokenizer, "é"), [id("▁"), 3 + 0xc3, 3 + 0xa9]);
    assert_eq!(tokenizer.encode("ab", EncodeOptions::PROMPT), [1, id("▁ab")]);
    assert_eq!(
        tokenizer.encode("ab</s>ab", EncodeOptions::PROMPT),
        [1, id("▁ab"), 2, id("▁ab")]
    );
    assert_eq!(
        tokenizer.decode(&[1, id("▁ab"), id("▁a"), 3 + 0xc3, 3 + 0xa9], true),
        "ab aé"
    );
    assert_eq!(tokenizer.token_bytes(3 + 0xc3), Some(&[0xc3][..]));
}

#[test]
fn spm_takes_the_leftmost_of_equal_pairs() {
    let tokenizer = build(&spm(&[("▁", -9.0), ("a", -8.0), ("aa", -1.0)]));
    let id = |text| tokenizer.token_to_id(text).unwrap();
    assert_eq!(plain(&tokenizer, "aaa"), [id("▁"), id("aa"), id("a")]);
}

#[test]
fn control_tokens_are_not_made_from_plain_text() {
    let pieces = [
        ("▁", -9.0),
        ("<", -8.0),
        ("/", -8.0),
        ("s", -8.0),
        (">", -8.0),
        ("</", -2.0),
        ("</s", -1.0),
    ];
    let tokenizer = build(&spm(&pieces));
    assert!(!plain(&tokenizer, "</s>").contains(&2));
    assert_eq!(tokenizer.encode("</s>", EncodeOptions::TEMPLATED), [2]);
}

#[test]
fn the_space_prefix_can_be_off() {
    let metadata = with(
        spm(&[("▁", -2.0), ("a", -1.0)]),
        "add_space_prefix",
        Value::Bool(false),
    );
    let tokenizer = build(&metadata);
    let id = |text| tokenizer.token_to_id(text).unwrap();
    assert_eq!(plain(&tokenizer, "a a"), [id("a"), id("▁"), id("a")]);
    assert_eq!(tokenizer.decode(&[id("▁"), id("a")], false), " a");
}

fn bert() -> Metadata {
    let tokens = [
        ("[PAD]", 3),
        ("[UNK]", 3),
        ("[CLS]", 3),
        ("[SEP]", 3),
        ("▁hello", 1),
        ("▁un", 1),
        ("able", 1),
        ("▁,", 1),
    ];
    let mut metadata = metadata("bert", &tokens);
    for (role, id) in [("unknown", 1), ("cls", 2), ("seperator", 3)] {
        metadata = with(metadata, &format!("{role}_token_id"), Value::U32(id));
    }
    metadata
}

#[test]
fn wordpiece_matches_longest_within_words() {
    let tokenizer = build(&bert());
    assert_eq!(plain(&tokenizer, "Héllo, unable xyz"), [4, 7, 5, 6, 1]);
    assert_eq!(tokenizer.encode("hello", EncodeOptions::PROMPT), [2, 4, 3]);
    assert_eq!(tokenizer.decode(&[2, 4, 7, 5, 6, 3], true), "hello , unable");
}

#[test]
fn bad_vocabularies_are_refused_by_name() {
    assert!(error(&metadata("rwkv", &[("a", 1)])).contains("unknown tokenizer model `rwkv`"));
    let unknown = error(&bpe("no-such\npre", &[], &[]));
    assert!(
        unknown.contains("unknown pre-tokenizer `no-such\\u{a}pre`") && unknown.contains("qwen2"),
        "{unknown}"
    );
    assert!(error(&metadata("gpt2", &[("a", 1)])).contains("no token for the byte 0x20"));
    let metadata = with(bpe("gpt-2", &[], &[]), "eos_token_id", Value::U32(256));
    assert!(error(&metadata).contains("token 256 is outside the vocabulary of 256 tokens"));
    assert!(error(&bpe("llama-bpe", &[], &[])).contains("no tokenizer.ggml.bos_token_id"));
    let merges = error(&bpe("gpt-2", &["a"], &[]));
    assert!(merges.contains("merge 0 `a` is not two tokens"), "{merges}");
    let scoreless = self::metadata("llama", &[("a", 1), ("<s>", 3), ("</s>", 3)]);
    assert!(error(&scoreless).contains("tokenizer.ggml.scores"));
    let short = with(scoreless.clone(), "scores", Value::Array(Array::F32(vec![0.0])));
    assert!(error(&short).contains("it has 1 entries"));
    let metadata = self::metadata("bert", &[("a", 1)]);
    assert!(error(&with(metadata, "add_bos_token", Value::Bool(false))).contains("seperator_token_id"));
}

#[test]
fn long_runs_are_encoded_in_good_time() {
    let mebi = 1 << 20;
    let texts = [
        "a".repeat(mebi),
        " ".repeat(mebi),
        " ".repeat(mebi) + "x",
        "😀".repeat(mebi / 4),
        "\n".repeat(mebi),
    ];
    let doubling: Vec<String> = (0..6).map(|i| format!("{0} {0}", "a".repeat(1 << i))).collect();
    let merges: Vec<&str> = doubling.iter().map(String::as_str).collect();
    let pieces: Vec<String> = (0..7).map(|i| "a".repeat(1 << i)).collect();
    let pieces = pieces.iter().map(String::as_str).chain(["▁"]);
    let pieces: Vec<_> = pieces
        .zip(1..)
        .map(|(text, rank)| (text, -(rank as f32)))
        .collect();
    let tokenizers = [
        build(&bpe("qwen2", &merges, &[])),
        build(&spm(&pieces)),
        build(&bert()),
    ];
    for tokenizer in &tokenizers {
        for text in &texts {
            let start = std::time::Instant::now();
            let ids = plain(tokenizer, text);
            assert!(
                start.elapsed().as_secs() < 10,
                "{tokenizer:?} took {:?}",
                start.elapsed()
            );
            if tokenizer.token_to_id("[CLS]").is_none() {
                assert!(
                    tokenizer.decode(&ids, false) == *text,
                    "{tokenizer:?}: {:?}…",
                    &text[..4]
                );
            }
        }
    }
    assert_eq!(plain(&tokenizers[0], &texts[0]).len(), mebi / 64);
}

#[test]
fn long_pieces_merge_as_short_ones_do() {
    // Ranks that make the order matter, and merges of merged tokens.
    let merges = ["a b", "b a", "a a", "ab a", "b b", "ba ba", "aa b"];
    let tokenizer = build(&bpe("gpt-2", &merges, &[]));
    // A piece of many letters is merged by the queue; the reference does the same by looking through all of it.
    let rank = |left: &str, right: &str| merges.iter().position(|m| *m == format!("{left} {right}"));
    let mut random = 1u64;
    for len in [1, 2, 47, 48, 49, 50, 200] {
        let letter = |_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if random >> 63 == 0 { 'a' } else { 'b' }
        };
        let text: String = (0..len).map(letter).collect();
        let mut parts: Vec<String> = text.chars().map(String::from).collect();
        while let Some((_, at)) = (1..parts.len())
            .filter_map(|at| Some((rank(&parts[at - 1], &parts[at])?, at)))
            .min()
        {
            let right = parts.remove(at);
            parts[at - 1].push_str(&right);
        }
        let want: Vec<u32> = parts.iter().map(|p| tokenizer.token_to_id(p).unwrap()).collect();
        assert_eq!(plain(&tokenizer, &text), want, "{text}");
    }
}

proptest! {
    #[test]
    fn damaged_tables_do_no_harm(at in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<Option<prop::sample::Index>>()) {
        let tokenizers = [bpe("qwen2", &MERGES, &[("<s>", 3)]), spm(&[("▁", -9.0), ("a", -8.0), ("▁a", -3.0)]), bert()];
        for metadata in tokenizers {
            let mut bytes = build(&metadata).to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(tokenizer) = Tokenizer::from_bytes(Arc::new(bytes)) {
                let ids = tokenizer.encode("hello a <s> hello world", EncodeOptions::PROMPT);
                tokenizer.decode(&ids, true);
                tokenizer.token_to_id("hello");
            }
        }
    }

    #[test]
    fn text_survives_the_round_trip(text in "(\\PC|[ \n\taehlo]|<s>|▁?){0,40}") {
        let metadata = bpe("llama-bpe", &MERGES, &[("<|eot_id|>", 3), ("<s>", 3)]);
        let bpe = build(&with(metadata, "bos_token_id", Value::U32(262)));
        let spm = build(&spm(&[("▁", -9.0), ("a", -8.0), ("▁a", -3.0), ("hello", -1.0)]));
        for options in [EncodeOptions::PLAIN, EncodeOptions::TEMPLATED] {
            prop_assert_eq!(bpe.decode(&bpe.encode(&text, options), false), text.clone());
        }
        // SentencePiece cannot tell its mark from a space.
        let ids = plain(&spm, &text);
        prop_assert_eq!(spm.decode(&ids, false), text.replace('▁', " "));
    }

    #[test]
    fn any_vocabulary_loads_or_is_refused(
        model in prop::sample::select(vec!["gpt2", "llama", "bert"]),
        tokens in prop::collection::vec(("[a▁<>s/Ġ]{0,4}|<0x[0-9A-F]{2}>", 0i32..8), 0..40),
        scores in prop::collection::vec(any::<f32>(), 0..40),
        ids in prop::collection::vec((prop::sample::select(vec!["bos", "eos", "unknown", "seperator"]), 0u32..50), 0..4),
        text in "[a▁<>s/ é😀]{0,30}",
    ) {
        let borrowed: Vec<_> = tokens.iter().map(|(text, kind)| (text.as_str(), *kind)).collect();
        let mut metadata = metadata(model, &borrowed);
        let scores = scores.into_iter().chain(std::iter::repeat(0.0)).take(tokens.len()).collect();
        metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
        for (role, id) in ids {
            metadata.insert(&format!("tokenizer.ggml.{role}_token_id"), Value::U32(id));
        }
        if let Ok(tokenizer) = Tokenizer::from_metadata(&metadata) {
            let again = again(&tokenizer);
            for options in [EncodeOptions::PLAIN, EncodeOptions::PROMPT] {
                let ids = tokenizer.encode(&text, options);
                prop_assert_eq!(&again.encode(&text, options), &ids);
                prop_assert!(ids.iter().all(|id| *id < tokenizer.vocab_size()));
                tokenizer.decode(&ids, true);
            }
        }
    }
}
