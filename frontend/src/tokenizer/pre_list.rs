//! The list of pre-tokenizers, by the names that `tokenizer.ggml.pre` takes in GGUF files; the patterns are those that
//! the models' own tokenizer files state. [`super::pre`] applies them.

/// What a pattern's final `\s+` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// There is none.
    None,
    /// It is the only alternative that can end in white space.
    Space,
    /// As `Space`, but other alternatives can end in a line break, and it cannot.
    SpaceNotNewline,
}

/// One pattern; each match is a piece, and so is what lies between matches.
pub(super) type Pattern = (&'static str, Tail);

/// What a name in the list stands for.
pub(super) struct PreTokenizer {
    pub(super) names: &'static [&'static str],
    /// Applied one after another, each to the pieces of the one before.
    pub(super) patterns: &'static [Pattern],
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
pub(super) const KNOWN: &[PreTokenizer] = &[
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
