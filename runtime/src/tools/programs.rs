//! The forms of calls, as programs for [`super::machine`]. Each is what a chat template shows of past calls, made a
//! little more tolerant: white space between markers, and a closing marker that does not come after a complete call.

use super::fields::Kind;
use super::machine::Step::{Arguments, End, Gemma, NamedObject, Next, Object, Python, Until};
use super::machine::{DONE, Program, Slot};

/// What most forms have: nothing but markers that begin calls.
const fn program(open: &'static [(&'static str, usize)], steps: &'static [super::machine::Step]) -> Program {
    Program {
        open,
        first: &[],
        bare: None,
        noise: &[],
        steps,
    }
}

/// Models of this form, small ones above all, write other tags, a fenced block or the bare object as well.
pub(super) static HERMES: Program = Program {
    open: &[
        ("<tool_call>", 0),
        ("<tools>", 0),
        ("<function_call>", 0),
        ("```json", 0),
    ],
    first: &[],
    bare: Some('{'),
    noise: &[],
    steps: &[
        Next(&[("[", 1), ("", 3)]),
        Object,
        Next(&[(",", 1), ("]", 4), ("", DONE)]),
        Object,
        Next(&[
            ("</tool_call>", DONE),
            ("</tools>", DONE),
            ("</function_call>", DONE),
            ("```", DONE),
            ("", DONE),
        ]),
    ],
};

pub(super) static LLAMA3: Program = Program {
    open: &[("<|python_tag|>", 0), ("<|python_start|>", 0)],
    first: &[],
    bare: Some('{'),
    noise: &["<|python_end|>"],
    steps: &[Object, Next(&[(";", 0), ("", DONE)])],
};

pub(super) static MISTRAL: Program = program(
    &[("[TOOL_CALLS]", 0)],
    &[
        Next(&[("[", 1), ("", 3)]),
        Object,
        Next(&[(",", 1), ("]", DONE), ("", DONE)]),
        Until(Slot::Name, &[("[ARGS]", 5), ("[CALL_ID]", 4)]),
        Until(Slot::Skip, &[("[ARGS]", 5)]),
        Arguments,
    ],
);

pub(super) static PHI4: Program = program(
    &[("<|tool_call|>", 0), ("functools", 0)],
    &[
        Next(&[("[", 1)]),
        Object,
        Next(&[(",", 1), ("]", 3), ("", DONE)]),
        Next(&[("<|/tool_call|>", DONE), ("", DONE)]),
    ],
);

pub(super) static GRANITE: Program = Program {
    open: &[("<|tool_call|>", 0), ("<tool_call>", 0)],
    first: &[],
    bare: None,
    noise: &["<response>", "</response>"],
    steps: &[
        Next(&[("[", 1), ("", 3)]),
        Object,
        Next(&[(",", 1), ("]", 4), ("", DONE)]),
        Object,
        Next(&[("</tool_call>", DONE), ("", DONE)]),
    ],
};

pub(super) static TOOL_CALLS: Program = program(
    &[("<tool_calls>", 0)],
    &[
        Next(&[("[", 1), ("", 3)]),
        Object,
        Next(&[(",", 1), ("]", 4), ("", DONE)]),
        Object,
        Next(&[("</tool_calls>", DONE), ("", 3)]),
    ],
);

pub(super) static NEMOTRON: Program = program(
    &[("<TOOLCALL>", 0)],
    &[
        Next(&[("[", 1)]),
        Object,
        Next(&[(",", 1), ("]", 3), ("", DONE)]),
        Next(&[("</TOOLCALL>", DONE), ("", DONE)]),
    ],
);

pub(super) static COHERE: Program = Program {
    open: &[("<|START_ACTION|>", 0)],
    first: &[],
    bare: None,
    noise: &[
        "<|START_RESPONSE|>",
        "<|END_RESPONSE|>",
        "<|START_TEXT|>",
        "<|END_TEXT|>",
    ],
    steps: &[
        Next(&[("[", 1)]),
        Object,
        Next(&[(",", 1), ("]", 3), ("", DONE)]),
        Next(&[("<|END_ACTION|>", DONE), ("", DONE)]),
    ],
};

pub(super) static APERTUS: Program = program(
    &[("<|tools_prefix|>", 0)],
    &[
        Next(&[("[", 1)]),
        NamedObject,
        Next(&[(",", 1), ("]", 3), ("", DONE)]),
        Next(&[("<|tools_suffix|>", DONE), ("", DONE)]),
    ],
);

pub(super) static GIGACHAT: Program = program(
    &[
        ("<|function_call|>", 0),
        ("<|message_sep|>\n\nfunction call<|role_sep|>", 0),
        ("function call<|role_sep|>", 0),
    ],
    &[Object],
);

pub(super) static FUNCTIONARY: Program = program(
    &[("<function=", 0)],
    &[
        Until(Slot::Name, &[(">", 1)]),
        Arguments,
        Next(&[("</function>", DONE), ("", DONE)]),
    ],
);

pub(super) static KIMI: Program = program(
    &[("<|tool_calls_section_begin|>", 0), ("<|tool_call_begin|>", 1)],
    &[
        Next(&[("<|tool_call_begin|>", 1)]),
        Until(Slot::Name, &[("<|tool_call_argument_begin|>", 2)]),
        Arguments,
        Next(&[("<|tool_call_end|>", 4), ("", DONE)]),
        Next(&[
            ("<|tool_call_begin|>", 1),
            ("<|tool_calls_section_end|>", DONE),
            ("", DONE),
        ]),
    ],
);

pub(super) static SOLAR: Program = Program {
    open: &[("<|tool_calls|>", 0), ("<|tool_call:begin|>", 1)],
    first: &[],
    bare: None,
    noise: &["<|begin|>assistant", "<|content|>", "<|end|>"],
    steps: &[
        Next(&[("<|tool_call:begin|>", 1)]),
        Until(Slot::Skip, &[("<|tool_call:name|>", 2)]),
        Until(Slot::Name, &[("<|tool_call:args|>", 3)]),
        Arguments,
        Next(&[("<|tool_call:end|>", 5), ("", DONE)]),
        Next(&[("<|tool_call:begin|>", 1), ("<|calls|>", DONE), ("", DONE)]),
    ],
};

pub(super) static DEEPSEEK_V3: Program = program(
    &[("<｜tool▁calls▁begin｜>", 0), ("<｜tool▁call▁begin｜>", 1)],
    &[
        Next(&[("<｜tool▁call▁begin｜>", 1)]),
        Until(Slot::Skip, &[("<｜tool▁sep｜>", 2)]),
        Until(Slot::Name, &[("```json", 3)]),
        Arguments,
        Next(&[("```", 5), ("", 5)]),
        Next(&[("<｜tool▁call▁end｜>", 6), ("", DONE)]),
        Next(&[
            ("<｜tool▁call▁begin｜>", 1),
            ("<｜tool▁calls▁end｜>", DONE),
            ("", DONE),
        ]),
    ],
);

pub(super) static DEEPSEEK_V31: Program = program(
    &[("<｜tool▁calls▁begin｜>", 0), ("<｜tool▁call▁begin｜>", 1)],
    &[
        Next(&[("<｜tool▁call▁begin｜>", 1)]),
        Until(Slot::Name, &[("<｜tool▁sep｜>", 2)]),
        Arguments,
        Next(&[("<｜tool▁call▁end｜>", 4), ("", DONE)]),
        Next(&[
            ("<｜tool▁call▁begin｜>", 1),
            ("<｜tool▁calls▁end｜>", DONE),
            ("", DONE),
        ]),
    ],
);

pub(super) static DEEPSEEK_V4: Program = program(
    &[("<｜DSML｜tool_calls>", 0), ("<｜DSML｜function_calls>", 0)],
    &[
        Next(&[("<｜DSML｜invoke name=\"", 1)]),
        Until(Slot::Name, &[("\">", 2)]),
        Next(&[("<｜DSML｜parameter name=\"", 3), ("</｜DSML｜invoke>", 7)]),
        Until(
            Slot::Key,
            &[
                ("\" string=\"true\">", 4),
                ("\" string=\"false\">", 5),
                ("\">", 6),
            ],
        ),
        Until(Slot::Value(Kind::Text), &[("</｜DSML｜parameter>", 2)]),
        Until(Slot::Value(Kind::Json), &[("</｜DSML｜parameter>", 2)]),
        Until(Slot::Value(Kind::Typed), &[("</｜DSML｜parameter>", 2)]),
        End,
        Next(&[
            ("<｜DSML｜invoke name=\"", 1),
            ("</｜DSML｜tool_calls>", DONE),
            ("</｜DSML｜function_calls>", DONE),
            ("", DONE),
        ]),
    ],
);

pub(super) static QWEN3_CODER: Program = program(
    &[("<tool_call>", 0), ("<function=", 1)],
    &[
        Next(&[("<function=", 1)]),
        Until(Slot::Name, &[(">", 2)]),
        Next(&[("<parameter=", 3), ("</function>", 5)]),
        Until(Slot::Key, &[(">", 4)]),
        Until(Slot::Value(Kind::Lines), &[("</parameter>", 2)]),
        End,
        Next(&[("</tool_call>", DONE), ("<function=", 1), ("", DONE)]),
    ],
);

pub(super) static SEED_OSS: Program = program(
    &[("<seed:tool_call>", 0), ("<function=", 1)],
    &[
        Next(&[("<function=", 1)]),
        Until(Slot::Name, &[(">", 2)]),
        Next(&[("<parameter=", 3), ("</function>", 5)]),
        Until(Slot::Key, &[(">", 4)]),
        Until(Slot::Value(Kind::Typed), &[("</parameter>", 2)]),
        End,
        Next(&[("</seed:tool_call>", DONE), ("<function=", 1), ("", DONE)]),
    ],
);

pub(super) static GLM: Program = program(
    &[("<tool_call>", 0)],
    &[
        Until(Slot::Name, &[("<arg_key>", 1), ("</tool_call>", 5)]),
        Until(Slot::Key, &[("</arg_key>", 2)]),
        Next(&[("<arg_value>", 3)]),
        Until(Slot::Value(Kind::Typed), &[("</arg_value>", 4)]),
        Next(&[("<arg_key>", 1), ("</tool_call>", 5)]),
        End,
    ],
);

pub(super) static HUNYUAN: Program = program(
    &[("<tool_calls:opensource>", 0), ("<tool_call:opensource>", 1)],
    &[
        Next(&[("<tool_call:opensource>", 1)]),
        Until(Slot::Name, &[("<tool_sep:opensource>", 2)]),
        Next(&[("<arg_key:opensource>", 3), ("</tool_call:opensource>", 6)]),
        Until(Slot::Key, &[("</arg_key:opensource>", 4)]),
        Next(&[("<arg_value:opensource>", 5)]),
        Until(Slot::Value(Kind::Typed), &[("</arg_value:opensource>", 2)]),
        End,
        Next(&[
            ("<tool_call:opensource>", 1),
            ("</tool_calls:opensource>", DONE),
            ("", DONE),
        ]),
    ],
);

pub(super) static PYTHONIC: Program = Program {
    open: &[("<|python_start|>", 0)],
    first: &[],
    bare: Some('['),
    noise: &["<|python_end|>"],
    steps: &[Next(&[("[", 1)]), Python, Next(&[(",", 1), ("]", DONE)])],
};

pub(super) static LFM2: Program = program(
    &[("<|tool_call_start|>", 0)],
    &[
        Next(&[("[", 1)]),
        Python,
        Next(&[(",", 1), ("]", 3), ("", DONE)]),
        Next(&[("<|tool_call_end|>", DONE), ("", DONE)]),
    ],
);

pub(super) static GEMMA3: Program = program(
    &[("```tool_code", 0)],
    &[
        Next(&[("[", 3), ("", 1)]),
        Python,
        Next(&[("```", DONE), ("", 1)]),
        Python,
        Next(&[(",", 3), ("]", 5), ("", DONE)]),
        Next(&[("```", DONE), ("", DONE)]),
    ],
);

pub(super) static GEMMA4: Program = program(
    &[("<|tool_call>", 0)],
    &[
        Next(&[("call:", 1)]),
        Until(Slot::Name, &[("{", 2)]),
        Gemma,
        Next(&[("<tool_call|>", DONE), ("", DONE)]),
    ],
);

pub(super) static HARMONY: Program = Program {
    open: &[
        ("<|channel|>commentary to=functions.", 0),
        ("<|channel|>analysis to=functions.", 0),
    ],
    first: &[("to=functions.", 0)],
    bare: None,
    noise: &[
        "<|start|>assistant",
        "<|channel|>final<|message|>",
        "<|channel|>final <|constrain|>json<|message|>",
        "<|channel|>commentary<|message|>",
        "<|end|>",
        "<|return|>",
    ],
    steps: &[
        Until(
            Slot::Name,
            &[
                ("<|message|>", 2),
                ("<|constrain|>", 1),
                ("<|channel|>", 1),
                (" json", 1),
                (" code", 1),
            ],
        ),
        Until(Slot::Skip, &[("<|message|>", 2)]),
        Arguments,
        Next(&[("<|call|>", DONE), ("<|end|>", DONE), ("", DONE)]),
    ],
};
