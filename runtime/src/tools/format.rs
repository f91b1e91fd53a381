//! How models write calls, and which of the ways a chat template means.

use super::machine::{Program, Step};
use super::markers;
use super::programs as p;

/// A way to write calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, one block a call: Hermes, Qwen 2.5 and 3, Granite 4. Read
    /// also as a fenced block of JSON, in `<tools>`, or bare, as small models write it.
    Hermes,
    /// `{"name": …, "parameters": {…}}` alone or behind `<|python_tag|>`, several with `;` between: Llama 3.
    Llama3,
    /// `[TOOL_CALLS]`, then `[{…}, {…}]`, or `name[ARGS]{…}` with or without `[CALL_ID]id`: Mistral.
    Mistral,
    /// `<|tool_call|>[{…}]<|/tool_call|>` or `functools[{…}]`: Phi 4.
    Phi4,
    /// `<|tool_call|>[{…}]` or `<tool_call>[{…}]`: Granite 3.
    Granite,
    /// `<tool_calls>`, then a list or lines of objects: Apriel, MiniMax M1.
    ToolCalls,
    /// `<TOOLCALL>[{…}]</TOOLCALL>`: Nemotron Nano.
    Nemotron,
    /// `<|START_ACTION|>[{"tool_name": …, "parameters": {…}}]<|END_ACTION|>`: Command R7B and later.
    Cohere,
    /// `<|tools_prefix|>[{"name": {…}}]<|tools_suffix|>`: Apertus.
    Apertus,
    /// `<|function_call|>{…}`: GigaChat.
    GigaChat,
    /// `<function=name>{…}</function>`: Functionary 3.1.
    Functionary,
    /// `<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{…}<|tool_call_end|>` in a section: Kimi K2.
    Kimi,
    /// `<|tool_call:begin|>id<|tool_call:name|>name<|tool_call:args|>{…}<|tool_call:end|>`: Solar.
    Solar,
    /// `<｜tool▁call▁begin｜>function<｜tool▁sep｜>name`, then the arguments in a fenced block: DeepSeek V3 and R1.
    DeepSeekV3,
    /// `<｜tool▁call▁begin｜>name<｜tool▁sep｜>{…}<｜tool▁call▁end｜>`: DeepSeek V3.1.
    DeepSeekV31,
    /// `<｜DSML｜invoke name="…">` with a tag for each parameter: DeepSeek V4.
    DeepSeekV4,
    /// `<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`: Qwen 3 Coder, Qwen 3.5.
    Qwen3Coder,
    /// The same in `<seed:tool_call>`, values not set in lines of their own: Seed OSS.
    SeedOss,
    /// `<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>`: GLM, Ling, Laguna, Spark.
    Glm,
    /// The same with `<tool_sep:opensource>` and marked tags: Hunyuan 3.
    Hunyuan,
    /// `[f(a=1), g()]` alone or behind `<|python_start|>`: Llama 4 and others.
    Pythonic,
    /// `<|tool_call_start|>[f(a=1)]<|tool_call_end|>`: LFM 2.
    Lfm2,
    /// Python calls in a fence of `tool_code`: prompts for Gemma 3.
    Gemma3,
    /// `<|tool_call>call:f{a:1,b:<|"|>x<|"|>}<tool_call|>`: Gemma 4.
    Gemma4,
    /// Messages on channels, of which some have a function as recipient: gpt-oss.
    Harmony,
}

/// A text that begins calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trigger {
    /// The text.
    pub text: &'static str,
    /// Whether it does so only at the beginning of a line, and may well begin something else.
    pub line: bool,
}

/// Texts that a template must all contain, for a format. The first row that fits counts, so special ones come first.
const SIGNS: &[(&[&str], Option<Format>)] = &[
    (&["]<]minimax[>["], None),
    (&["<atem:"], None),
    (&["<|channel|>", "<|message|>"], Some(Format::Harmony)),
    (&["<|tool_call>", "call:"], Some(Format::Gemma4)),
    (&["<|tool_call_start|>"], Some(Format::Lfm2)),
    (&["<|tool_list_start|>"], Some(Format::Lfm2)),
    (&["｜DSML｜"], Some(Format::DeepSeekV4)),
    (&["<｜tool▁call▁begin｜>", "```json"], Some(Format::DeepSeekV3)),
    (&["<｜tool▁call▁begin｜>"], Some(Format::DeepSeekV31)),
    (&["[TOOL_CALLS]"], Some(Format::Mistral)),
    (&["<|tool_call_argument_begin|>"], Some(Format::Kimi)),
    (&["<|START_ACTION|>"], Some(Format::Cohere)),
    (&["<|tool_call:begin|>"], Some(Format::Solar)),
    (&["<|tools_prefix|>"], Some(Format::Apertus)),
    (&["<|function_call|>"], Some(Format::GigaChat)),
    (&["function call", "<|role_sep|>"], Some(Format::GigaChat)),
    (&["<seed:tool_call>"], Some(Format::SeedOss)),
    (&["<tool_sep"], Some(Format::Hunyuan)),
    (&["<arg_key>"], Some(Format::Glm)),
    (&["<tool_call>", "<parameter="], Some(Format::Qwen3Coder)),
    (&["<TOOLCALL>"], Some(Format::Nemotron)),
    (&["<tool_calls>"], Some(Format::ToolCalls)),
    (&["functools"], Some(Format::Phi4)),
    (&["<|/tool_call|>"], Some(Format::Phi4)),
    (&["<|/tool|>"], Some(Format::Phi4)),
    (&["<|tool_call|>"], Some(Format::Granite)),
    (&["<function="], Some(Format::Functionary)),
    (&["<tool_call>"], Some(Format::Hermes)),
    (&["tool_code"], Some(Format::Gemma3)),
    (&["[func_name1("], Some(Format::Pythonic)),
    (&["<|python_tag|>"], Some(Format::Llama3)),
    (&["\"parameters\": ", "\"name\": ", "<|eot"], Some(Format::Llama3)),
];

impl Format {
    /// The format that a chat template's text shows; `None` where it shows none that is known.
    pub fn of_template(template: &str) -> Option<Format> {
        let fits = |signs: &[&str]| signs.iter().all(|sign| template.contains(sign));
        SIGNS.iter().find(|(signs, _)| fits(signs)).and_then(|row| row.1)
    }

    /// What begins calls. [`Format::grammar`] begins with one of them.
    pub fn triggers(self) -> impl Iterator<Item = Trigger> {
        let program = self.program();
        let bare = program.bare.map(|c| if c == '{' { "{" } else { "[" });
        let bare = bare.map(|text| Trigger { text, line: true });
        let open = program.open.iter().chain(program.first);
        let open = open.map(|&(text, _)| Trigger { text, line: false });
        open.chain(bare)
    }

    /// All that looks like a token of its own in calls of this form, and what may stand around content. Where one is a
    /// token that has no text otherwise, the parser must be given this text for it.
    pub fn markers(self) -> Vec<&'static str> {
        let program = self.program();
        let steps = program.steps.iter().flat_map(Step::texts);
        let open = program.open.iter().chain(program.first);
        let texts = open.chain(steps).map(|&(text, _)| text);
        let texts = texts.chain(program.noise.iter().copied());
        let values = (self == Format::Gemma4).then_some(super::literal::MARK);
        let mut all: Vec<&str> = texts.chain(values).flat_map(markers::all).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) fn program(self) -> &'static Program {
        match self {
            Format::Hermes => &p::HERMES,
            Format::Llama3 => &p::LLAMA3,
            Format::Mistral => &p::MISTRAL,
            Format::Phi4 => &p::PHI4,
            Format::Granite => &p::GRANITE,
            Format::ToolCalls => &p::TOOL_CALLS,
            Format::Nemotron => &p::NEMOTRON,
            Format::Cohere => &p::COHERE,
            Format::Apertus => &p::APERTUS,
            Format::GigaChat => &p::GIGACHAT,
            Format::Functionary => &p::FUNCTIONARY,
            Format::Kimi => &p::KIMI,
            Format::Solar => &p::SOLAR,
            Format::DeepSeekV3 => &p::DEEPSEEK_V3,
            Format::DeepSeekV31 => &p::DEEPSEEK_V31,
            Format::DeepSeekV4 => &p::DEEPSEEK_V4,
            Format::Qwen3Coder => &p::QWEN3_CODER,
            Format::SeedOss => &p::SEED_OSS,
            Format::Glm => &p::GLM,
            Format::Hunyuan => &p::HUNYUAN,
            Format::Pythonic => &p::PYTHONIC,
            Format::Lfm2 => &p::LFM2,
            Format::Gemma3 => &p::GEMMA3,
            Format::Gemma4 => &p::GEMMA4,
            Format::Harmony => &p::HARMONY,
        }
    }
}
