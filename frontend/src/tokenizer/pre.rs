//! Pre-tokenizers: how a byte-level BPE vocabulary cuts text into the pieces that merges never cross. The list is
//! explicit, by the names that `tokenizer.ggml.pre` takes in GGUF files; the patterns are those that the models'
//! own tokenizer files state.
//!
//! Nearly all patterns end in `\s+(?!\S)|\s+`: a run of spaces leaves its last one to the word after it. That is the
//! only look-ahead among them, so it is done here by hand ([`Tail`]), and the rest runs on automata in linear time
//! whatever the text.

use regex::Regex;

/// What a pattern's final `\s+` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// There is none.
    None,
    /// It is the only alternative that can end in white space.
    Space,
    /// As `Space`, but other alternatives can end in a line break, and it cannot.
    SpaceNotNewline,
}

/// One pattern; each match is a piece, and so is what lies between matches.
type Pattern = (&'static str, Tail);

/// What a name in the list stands for.
pub(super) struct PreTokenizer {
    names: &'static [&'static str],
    /// Applied one after another, each to the pieces of the one before.
    patterns: &'static [Pattern],
    /// Whether a piece that is a token as a whole is that token, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Whether BOS is added where the file does not say.
    pub(super) add_bos: bool,
    /// Whether SEP is added where the file does not say.
    pub(super) add_sep: bool,
}

macro_rules! contractions {
    () => {
        r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
    };
}
/// Upper or caseless letters and marks, then lower or caseless ones (the o200k pattern and its kin).
macro_rules! cased_words {
    ($suffix:expr, $not:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}",
            $not,
            r"]*[\p{Ll}\p{Lm}\p{Lo}\p{M}",
            $not,
            "]+",
            $suffix,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}",
            $not,
            r"]+[\p{Ll}\p{Lm}\p{Lo}\p{M}",
            $not,
            "]*",
            $suffix
        )
    };
}
macro_rules! llama3_like {
    ($digits:literal) => {
        (
            concat!(
                contractions!(),
                r"|[^\r\n\p{L}\p{N}]?\p{L}+|",
                $digits,
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
            ),
            Tail::SpaceNotNewline,
        )
    };
}

const GPT2: Pattern = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+",
    Tail::Space,
);
const DIGIT: Pattern = (r"\p{N}", Tail::None);
const LLAMA3: Pattern = llama3_like!(r"\p{N}{1,3}");
const QWEN2: Pattern = llama3_like!(r"\p{N}");
const QWEN35: Pattern = (
    concat!(
        contractions!(),
        r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    ),
    Tail::SpaceNotNewline,
);
const O200K: Pattern = (
    concat!(
        cased_words!(concat!("(?:", contractions!(), ")?"), ""),
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
    ),
    Tail::SpaceNotNewline,
);
const TEKKEN: Pattern = (
    concat!(
        cased_words!("", ""),
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
    ),
    Tail::SpaceNotNewline,
);
const KIMI: Pattern = (
    concat!(
        r"\p{Han}+|",
        cased_words!(concat!("(?:", contractions!(), ")?"), r"&&[^\p{Han}]"),
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
    ),
    Tail::SpaceNotNewline,
);
const YOUTU: Pattern = (
    concat!(
        cased_words!(concat!("(?:", contractions!(), ")?"), ""),
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
    ),
    Tail::SpaceNotNewline,
);
const CJK_KANA: Pattern = ("[一-龥\u{3040}-ゟ゠-ヿ]+", Tail::None);
const DEEPSEEK3: Pattern = (
    concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
        r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+"
    ),
    Tail::SpaceNotNewline,
);
const SPARK: Pattern = (
    concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
        r"| ?[\p{P}\p{S}]+|[\r\n]|\s+"
    ),
    // A line break alone is one character, which the tail leaves as it is.
    Tail::Space,
);
const HAN_TO_HANGUL: Pattern = ("[一-龥ࠀ-一가-\u{d7ff}]+", Tail::None);
/// The letters that DeepSeek LLM's pattern lists: those with case.
const DEEPSEEK_LETTERS: Pattern = (
    concat!(
        r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1f7d}",
        "ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳ",
        "Ꙁ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
    ),
    Tail::None,
);

const PLAIN: PreTokenizer = PreTokenizer {
    names: &[],
    patterns: &[GPT2],
    ignore_merges: false,
    add_bos: false,
    add_sep: false,
};

/// All pre-tokenizers that are known.
const KNOWN: &[PreTokenizer] = &[
    PreTokenizer {
        names: &["default"],
        patterns: &[
            (r"[\p{P}$+<=>^~|]+", Tail::None),
            GPT2,
            (r"\p{N}+", Tail::None),
            ("[0-9]{3}", Tail::None),
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["jina-v1-en", "jina-v2-code", "roberta-bpe"],
        add_sep: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "llama3",
            "llama-v3",
            "llama-bpe",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        patterns: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
        patterns: &[LLAMA3],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        patterns: &[QWEN2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["qwen35"],
        patterns: &[QWEN35],
        ..PLAIN
    },
    PreTokenizer {
        names: &["minicpm5"],
        patterns: &[(r"\p{N}{1,3}", Tail::None), llama3_like!(r"\p{N}+")],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["ufakzeka"],
        patterns: &[(
            r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
            Tail::SpaceNotNewline,
        )],
        ..PLAIN
    },
    PreTokenizer {
        names: &["seed-coder"],
        patterns: &[(
            concat!(
                contractions!(),
                r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+"
            ),
            Tail::SpaceNotNewline,
        )],
        ..PLAIN
    },
    PreTokenizer {
        names: &["bailingmoe", "bailingmoe2", "llada-moe"],
        patterns: &[(
            concat!(
                contractions!(),
                r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+"
            ),
            Tail::SpaceNotNewline,
        )],
        ..PLAIN
    },
    PreTokenizer {
        names: &["exaone-moe"],
        patterns: &[(
            concat!(
                contractions!(),
                r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?",
                r"|\s*[\r\n]|\s+"
            ),
            Tail::SpaceNotNewline,
        )],
        ..PLAIN
    },
    PreTokenizer {
        names: &["laguna"],
        patterns: &[(r"[^\n]+|\n+", Tail::None), QWEN2],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "starcoder",
            "refact",
            "command-r",
            "smollm",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        patterns: &[DIGIT, GPT2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["falcon"],
        patterns: &[(r"[\p{P}$+<=>^~|`]+", Tail::None), GPT2, ("[0-9]{3}", Tail::None)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-llm"],
        patterns: &[
            (r"[\r\n]", Tail::None),
            DEEPSEEK_LETTERS,
            (r"\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+", Tail::None),
            (r"\s+$", Tail::None),
            HAN_TO_HANGUL,
            (r"\p{N}+", Tail::None),
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        patterns: &[
            (r"[\r\n]", Tail::None),
            (r"\s?\p{L}+", Tail::None),
            (r"\s?\p{P}+", Tail::None),
            HAN_TO_HANGUL,
            DIGIT,
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        patterns: &[(r"\p{N}{1,3}", Tail::None), CJK_KANA, DEEPSEEK3],
        ..PLAIN
    },
    PreTokenizer {
        names: &["spark2_5"],
        patterns: &[(r"\p{N}{1,3}", Tail::None), CJK_KANA, SPARK, DIGIT],
        ..PLAIN
    },
    PreTokenizer {
        names: &["youtu"],
        patterns: &[
            (
                "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，\u{3001}-\u{303f}\u{fe30}-\u{fe4f}]+|[ㄅ-ㄯ]+|[一-龥\u{3040}-ゟ゠-ヿ]+",
                Tail::None,
            ),
            YOUTU,
        ],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["tekken"],
        patterns: &[TEKKEN],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        patterns: &[O200K],
        ..PLAIN
    },
    PreTokenizer {
        names: &["granite-embed-multi-97m"],
        patterns: &[O200K],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["kimi-k2"],
        patterns: &[KIMI],
        ..PLAIN
    },
    PreTokenizer {
        names: &["poro-chat", "bloom", "gpt3-finnish"],
        patterns: &[(r" ?[^(\s|.,!?…。，、।۔،)]+", Tail::None)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["viking"],
        patterns: &[(r" ?[^(\s|.,!?…。，、।۔،)]+", Tail::None), DIGIT],
        ..PLAIN
    },
    PreTokenizer {
        names: &["chameleon"],
        patterns: &[
            ("<sentinel:[0-9]+>", Tail::None),
            ("IMGIMG[A-I]{1,4}Z", Tail::None),
            (r"[\t\n]|    |  ", Tail::None),
            DIGIT,
            (r"[\p{P}!-/:-@\[-`{-~]", Tail::None),
            GPT2,
        ],
        add_bos: true,
        ..PLAIN
    },
];

/// The pre-tokenizer of this name.
pub(super) fn find(name: &str) -> Option<&'static PreTokenizer> {
    KNOWN.iter().find(|known| known.names.contains(&name))
}

/// All names, for messages.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().flat_map(|known| known.names.iter().copied())
}

/// A compiled pre-tokenizer.
pub(super) struct Splitter {
    stages: Vec<(Regex, Tail)>,
}

impl Splitter {
    /// Compiles the patterns; they are part of the program, so the only error is a mistake in the list.
    pub(super) fn new(pre: &PreTokenizer) -> Result<Self, regex::Error> {
        let stages = pre
            .patterns
            .iter()
            .map(|(pattern, tail)| Ok((Regex::new(pattern)?, *tail)));
        Ok(Splitter {
            stages: stages.collect::<Result<_, regex::Error>>()?,
        })
    }

    /// The pieces of `text`, in order; together they are the text.
    pub(super) fn split<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut pieces = vec![text];
        for (regex, tail) in &self.stages {
            let mut next = Vec::with_capacity(pieces.len());
            for piece in pieces {
                split_piece(regex, *tail, piece, &mut next);
            }
            pieces = next;
        }
        pieces
    }
}

fn split_piece<'a>(regex: &Regex, tail: Tail, text: &'a str, out: &mut Vec<&'a str>) {
    let mut at = 0;
    while let Some(found) = regex.find_at(text, at) {
        if found.start() > at {
            out.push(&text[at..found.start()]);
        }
        let end = found.start() + kept_len(tail, found.as_str(), found.end() == text.len());
        out.push(&text[found.start()..end]);
        at = end;
    }
    if at < text.len() {
        out.push(&text[at..]);
    }
}

/// Length of a match once a final run of white space has left its last character to what follows.
fn kept_len(tail: Tail, found: &str, at_end: bool) -> usize {
    let Some(last) = found.chars().next_back() else {
        return found.len();
    };
    let is_tail = match tail {
        Tail::None => false,
        Tail::Space => last.is_whitespace(),
        Tail::SpaceNotNewline => last.is_whitespace() && !matches!(last, '\r' | '\n'),
    };
    let shorter = found.len() - last.len_utf8();
    if is_tail && !at_end && shorter > 0 {
        shorter
    } else {
        found.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn split<'a>(name: &str, text: &'a str) -> Vec<&'a str> {
        Splitter::new(find(name).unwrap()).unwrap().split(text)
    }

    #[test]
    fn known_names_are_unique_and_compile() {
        let all: Vec<_> = names().collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        for known in KNOWN {
            Splitter::new(known).unwrap_or_else(|error| panic!("{:?}: {error}", known.names));
        }
        assert!(find("no such").is_none());
    }

    #[test]
    fn gpt2_cuts_words_and_leaves_one_space() {
        assert_eq!(
            split("gpt-2", "I'm  a 12\n\n b  "),
            ["I", "'m", " ", " a", " 12", "\n\n", " b", "  "]
        );
        assert_eq!(split("gpt-2", "a\t\tb"), ["a", "\t", "\t", "b"]);
    }

    #[test]
    fn llama3_groups_digits_and_line_breaks() {
        assert_eq!(
            split("llama-bpe", "1234 a\n \n\n  b!\n"),
            ["123", "4", " a", "\n \n\n", " ", " b", "!\n"]
        );
        assert_eq!(split("qwen2", "12'LL x"), ["1", "2", "'LL", " x"]);
    }

    #[test]
    fn o200k_cuts_at_case_and_kimi_at_han() {
        assert_eq!(
            split("gpt-4o", "helloWorld's HTTPServer"),
            ["hello", "World's", " HTTPServer"]
        );
        assert_eq!(split("tekken", "helloWorld's"), ["hello", "World", "'s"]);
        assert_eq!(split("kimi-k2", "ab漢字cd"), ["ab", "漢字", "cd"]);
    }

    #[test]
    fn deepseek_and_falcon_apply_their_patterns_in_turn() {
        assert_eq!(
            split("deepseek-coder", "a1 b.\n漢"),
            ["a", "1", " b", ".", "\n", "漢"]
        );
        assert_eq!(split("deepseek-v3", "x漢12345 y"), ["x", "漢", "123", "45", " y"]);
        assert_eq!(split("falcon", "a==1234"), ["a", "==", "123", "4"]);
    }

    #[test]
    fn a_bare_look_ahead_agrees() {
        // The tail rule against a direct reading of `\s+(?!\S)|\s+` on runs of mixed white space.
        for text in ["   ", "  a", " a", "\n\n a", "a \u{3000}b", " \n"] {
            let expected: Vec<String> = naive_gpt2_spaces(text);
            assert_eq!(split("gpt-2", text), expected, "{text:?}");
        }
    }

    fn naive_gpt2_spaces(text: &str) -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        let (mut out, mut at) = (Vec::new(), 0);
        while at < chars.len() {
            let run = chars[at..].iter().take_while(|c| c.is_whitespace()).count();
            let word = |from: usize| chars[from..].iter().take_while(|c| !c.is_whitespace()).count();
            let len = match run {
                0 => word(at),
                1 if chars[at] == ' ' && at + 1 < chars.len() => 1 + word(at + 1),
                1 => 1,
                _ if at + run == chars.len() => run,
                _ => run - 1,
            };
            out.push(chars[at..at + len].iter().collect());
            at += len;
        }
        out
    }

    proptest! {
        #[test]
        fn pieces_are_the_text(text in "(\\PC|[ \n\t\r]|[a-zA-Z0-9'.]){0,40}", pick in any::<prop::sample::Index>()) {
            let known = &KNOWN[pick.index(KNOWN.len())];
            let splitter = Splitter::new(known).unwrap();
            let pieces = splitter.split(&text);
            prop_assert!(text.is_empty() || pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.concat(), text);
        }
    }
}
