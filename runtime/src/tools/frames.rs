//! The forms of calls as they are to be written: what stands before, between and behind names and arguments. Chat
//! templates write past calls in just this way. [`super::grammar`] makes grammars of them.

use super::Format;

/// A piece of what is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// This text, in which markers may stand.
    Text(&'static str),
    /// This text or nothing.
    Maybe(&'static str),
    /// Text that a regular expression matches.
    Regex(&'static str),
}

/// How arguments are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arguments {
    /// As a JSON object.
    Json,
    /// One by one between tags.
    Tags(&'static Tags),
    /// `key=value, …`
    Python,
    /// `key:value,…`
    Gemma,
}

/// What stands around an argument's name and value.
#[derive(Debug)]
pub(super) struct Tags {
    pub before: &'static str,
    /// Behind the name; another one where the value is no string.
    pub middle: (&'static str, &'static str),
    pub close: &'static str,
    pub after: &'static [Part],
}

/// A way to write calls.
#[derive(Debug)]
pub(super) struct Frame {
    pub open: &'static [Part],
    /// Before the name of each function.
    pub before: &'static [Part],
    /// Between its name and its arguments.
    pub middle: &'static [Part],
    pub arguments: Arguments,
    /// Behind the arguments of each call.
    pub end: &'static [Part],
    /// Between calls; `None` where an answer has one call.
    pub between: Option<&'static [Part]>,
    pub close: &'static [Part],
}

use Arguments::{Gemma, Json, Python, Tags as Tagged};
use Part::{Maybe, Regex, Text};

const NAME: Part = Text("{\"name\": \"");
const ARGUMENTS: Part = Text("\", \"arguments\": ");
const END: Part = Text("}");
const COMMA: Option<&[Part]> = Some(&[Text(", ")]);
const NOTHING: Option<&[Part]> = Some(&[]);

/// A list of JSON objects.
const fn list(open: &'static [Part], close: &'static [Part]) -> Frame {
    Frame {
        open,
        before: &[NAME],
        middle: &[ARGUMENTS],
        arguments: Json,
        end: &[END],
        between: COMMA,
        close,
    }
}

/// Calls that each have all their markers.
const fn each(
    before: &'static [Part],
    middle: &'static [Part],
    arguments: Arguments,
    end: &'static [Part],
) -> Frame {
    Frame {
        open: &[],
        before,
        middle,
        arguments,
        end,
        between: NOTHING,
        close: &[],
    }
}

/// Python's calls in a list.
const fn python(open: &'static [Part], close: &'static [Part]) -> Frame {
    Frame {
        open,
        before: &[],
        middle: &[Text("(")],
        arguments: Python,
        end: &[Text(")")],
        between: COMMA,
        close,
    }
}

static HERMES: Frame = Frame {
    between: Some(&[Maybe("\n")]),
    ..each(
        &[Text("<tool_call>"), Maybe("\n"), NAME],
        &[ARGUMENTS],
        Json,
        &[END, Maybe("\n"), Text("</tool_call>")],
    )
};

static LLAMA3: Frame = Frame {
    between: Some(&[Text("; ")]),
    ..each(&[NAME], &[Text("\", \"parameters\": ")], Json, &[END])
};

static MISTRAL: [Frame; 2] = [
    each(&[Text("[TOOL_CALLS]")], &[Text("[ARGS]")], Json, &[]),
    Frame {
        end: &[Regex("(, \"id\": \"[a-zA-Z0-9]{9}\")?\\}")],
        ..list(&[Text("[TOOL_CALLS]"), Text("[")], &[Text("]")])
    },
];

static PHI4: Frame = list(
    &[Text("<|tool_call|>"), Text("[")],
    &[Text("]"), Text("<|/tool_call|>")],
);
static GRANITE: Frame = list(&[Text("<|tool_call|>"), Text("[")], &[Text("]")]);
static TOOL_CALLS: Frame = list(&[Text("<tool_calls>[")], &[Text("]</tool_calls>")]);
static NEMOTRON: Frame = list(&[Text("<TOOLCALL>[")], &[Text("]</TOOLCALL>")]);

static COHERE: Frame = Frame {
    open: &[Text("<|START_ACTION|>"), Text("[\n    ")],
    before: &[
        Text("{\"tool_call_id\": \""),
        Regex("[0-9]{1,2}"),
        Text("\", \"tool_name\": \""),
    ],
    middle: &[Text("\", \"parameters\": ")],
    arguments: Json,
    end: &[END],
    between: Some(&[Text(",\n    ")]),
    close: &[Text("\n]"), Text("<|END_ACTION|>")],
};

static APERTUS: Frame = Frame {
    before: &[Text("{\"")],
    middle: &[Text("\": ")],
    ..list(
        &[Text("<|tools_prefix|>"), Text("[")],
        &[Text("]"), Text("<|tools_suffix|>")],
    )
};

static GIGACHAT: [Frame; 2] = [
    Frame {
        between: None,
        ..list(&[Text("<|function_call|>")], &[])
    },
    Frame {
        between: None,
        ..list(&[Text("<|message_sep|>\n\nfunction call<|role_sep|>\n")], &[])
    },
];

static FUNCTIONARY: Frame = each(&[Text("<function=")], &[Text(">")], Json, &[Text("</function>")]);

static KIMI: Frame = Frame {
    open: &[Text("<|tool_calls_section_begin|>")],
    close: &[Text("<|tool_calls_section_end|>")],
    ..each(
        &[Text("<|tool_call_begin|>"), Text("functions.")],
        &[
            Text(":"),
            Regex("[0-9]{1,4}"),
            Text("<|tool_call_argument_begin|>"),
        ],
        Json,
        &[Text("<|tool_call_end|>")],
    )
};

static SOLAR: Frame = Frame {
    open: &[Text("<|tool_calls|>")],
    ..each(
        &[
            Text("<|tool_call:begin|>"),
            Regex("[a-z0-9]{10}"),
            Text("<|tool_call:name|>"),
        ],
        &[Text("<|tool_call:args|>")],
        Json,
        &[Text("<|tool_call:end|>")],
    )
};

static DEEPSEEK_V3: Frame = Frame {
    open: &[Text("<｜tool▁calls▁begin｜>")],
    between: Some(&[Maybe("\n")]),
    close: &[Text("<｜tool▁calls▁end｜>")],
    ..each(
        &[Text("<｜tool▁call▁begin｜>function<｜tool▁sep｜>")],
        &[Text("\n```json\n")],
        Json,
        &[Text("\n```<｜tool▁call▁end｜>")],
    )
};

static DEEPSEEK_V31: Frame = Frame {
    open: &[Text("<｜tool▁calls▁begin｜>")],
    close: &[Text("<｜tool▁calls▁end｜>")],
    ..each(
        &[Text("<｜tool▁call▁begin｜>")],
        &[Text("<｜tool▁sep｜>")],
        Json,
        &[Text("<｜tool▁call▁end｜>")],
    )
};

static DEEPSEEK_V4: Frame = Frame {
    open: &[Text("<｜DSML｜tool_calls>\n")],
    close: &[Text("</｜DSML｜tool_calls>")],
    ..each(
        &[Text("<｜DSML｜invoke name=\"")],
        &[Text("\">\n")],
        Tagged(&Tags {
            before: "<｜DSML｜parameter name=\"",
            middle: ("\" string=\"true\">", "\" string=\"false\">"),
            close: "</｜DSML｜parameter>",
            after: &[Text("\n")],
        }),
        &[Text("</｜DSML｜invoke>\n")],
    )
};

static QWEN3_CODER: Frame = Frame {
    between: Some(&[Maybe("\n")]),
    ..each(
        &[Text("<tool_call>"), Text("\n<function=")],
        &[Text(">\n")],
        Tagged(&Tags {
            before: "<parameter=",
            middle: (">\n", ">\n"),
            close: "\n</parameter>",
            after: &[Text("\n")],
        }),
        &[Text("</function>\n"), Text("</tool_call>")],
    )
};

static SEED_OSS: Frame = Frame {
    between: Some(&[Maybe("\n")]),
    ..each(
        &[Text("<seed:tool_call>"), Text("\n<function=")],
        &[Text(">\n")],
        Tagged(&Tags {
            before: "<parameter=",
            middle: (">", ">"),
            close: "</parameter>",
            after: &[Text("\n")],
        }),
        &[Text("</function>\n"), Text("</seed:tool_call>")],
    )
};

static GLM: Frame = Frame {
    between: Some(&[Maybe("\n")]),
    ..each(
        &[Text("<tool_call>")],
        &[Maybe("\n")],
        Tagged(&Tags {
            before: "<arg_key>",
            middle: ("</arg_key>\n<arg_value>", "</arg_key>\n<arg_value>"),
            close: "</arg_value>",
            after: &[Maybe("\n")],
        }),
        &[Text("</tool_call>")],
    )
};

static HUNYUAN: Frame = Frame {
    open: &[Text("<tool_calls:opensource>\n")],
    close: &[Text("</tool_calls:opensource>")],
    ..each(
        &[Text("<tool_call:opensource>")],
        &[Text("<tool_sep:opensource>\n")],
        Tagged(&Tags {
            before: "<arg_key:opensource>",
            middle: (
                "</arg_key:opensource>\n<arg_value:opensource>",
                "</arg_key:opensource>\n<arg_value:opensource>",
            ),
            close: "</arg_value:opensource>",
            after: &[Text("\n")],
        }),
        &[Text("</tool_call:opensource>\n")],
    )
};

static PYTHONIC: Frame = python(&[Text("[")], &[Text("]")]);

static LFM2: Frame = python(
    &[Text("<|tool_call_start|>"), Text("[")],
    &[Text("]"), Text("<|tool_call_end|>")],
);

static GEMMA3: Frame = Frame {
    between: Some(&[Text("\n")]),
    ..python(&[Text("```tool_code\n")], &[Text("\n```")])
};

static GEMMA4: Frame = each(
    &[Text("<|tool_call>"), Text("call:")],
    &[Text("{")],
    Gemma,
    &[Text("}"), Text("<tool_call|>")],
);

static HARMONY: Frame = Frame {
    between: None,
    ..each(
        &[Text("<|channel|>commentary to=functions.")],
        &[Text(" <|constrain|>json<|message|>")],
        Json,
        &[],
    )
};

impl Format {
    /// The ways to write calls, of which an answer has one.
    pub(super) fn frames(self) -> &'static [Frame] {
        use std::slice::from_ref;
        match self {
            Format::Hermes => from_ref(&HERMES),
            Format::Llama3 => from_ref(&LLAMA3),
            Format::Mistral => &MISTRAL,
            Format::Phi4 => from_ref(&PHI4),
            Format::Granite => from_ref(&GRANITE),
            Format::ToolCalls => from_ref(&TOOL_CALLS),
            Format::Nemotron => from_ref(&NEMOTRON),
            Format::Cohere => from_ref(&COHERE),
            Format::Apertus => from_ref(&APERTUS),
            Format::GigaChat => &GIGACHAT,
            Format::Functionary => from_ref(&FUNCTIONARY),
            Format::Kimi => from_ref(&KIMI),
            Format::Solar => from_ref(&SOLAR),
            Format::DeepSeekV3 => from_ref(&DEEPSEEK_V3),
            Format::DeepSeekV31 => from_ref(&DEEPSEEK_V31),
            Format::DeepSeekV4 => from_ref(&DEEPSEEK_V4),
            Format::Qwen3Coder => from_ref(&QWEN3_CODER),
            Format::SeedOss => from_ref(&SEED_OSS),
            Format::Glm => from_ref(&GLM),
            Format::Hunyuan => from_ref(&HUNYUAN),
            Format::Pythonic => from_ref(&PYTHONIC),
            Format::Lfm2 => from_ref(&LFM2),
            Format::Gemma3 => from_ref(&GEMMA3),
            Format::Gemma4 => from_ref(&GEMMA4),
            Format::Harmony => from_ref(&HARMONY),
        }
    }
}
