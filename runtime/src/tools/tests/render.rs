//! Writes calls as the chat templates do, to be read again.

use super::Format;
use serde_json::Value;

pub(super) const ALL: &[Format] = &[
    Format::Hermes,
    Format::Llama3,
    Format::Mistral,
    Format::Phi4,
    Format::Granite,
    Format::ToolCalls,
    Format::Nemotron,
    Format::Cohere,
    Format::Apertus,
    Format::GigaChat,
    Format::Functionary,
    Format::Kimi,
    Format::Solar,
    Format::DeepSeekV3,
    Format::DeepSeekV31,
    Format::DeepSeekV4,
    Format::Qwen3Coder,
    Format::SeedOss,
    Format::Glm,
    Format::Hunyuan,
    Format::Pythonic,
    Format::Lfm2,
    Format::Gemma3,
    Format::Gemma4,
    Format::Harmony,
];

pub(super) type Calls<'a> = &'a [(&'a str, Value)];

fn objects(calls: Calls, arguments: &str) -> Vec<String> {
    let object = |(name, value): &(&str, Value)| format!(r#"{{"name": "{name}", "{arguments}": {value}}}"#);
    calls.iter().map(object).collect()
}

fn each(calls: Calls, write: impl Fn(&str, &Value) -> String) -> String {
    calls.iter().map(|(name, value)| write(name, value)).collect()
}

fn fields(value: &Value, write: impl Fn(&str, String) -> String) -> String {
    let text = |v: &Value| v.as_str().map_or(v.to_string(), str::to_owned);
    let all = value.as_object().unwrap().iter();
    all.map(|(key, v)| write(key, text(v))).collect()
}

/// A value as Python writes it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => {
            let text = text
                .replace('\\', "\\\\")
                .replace('\'', "\\'")
                .replace('\n', "\\n");
            format!("'{text}'")
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(python).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let items: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("\"{k}\": {}", python(v)))
                .collect();
            format!("{{{}}}", items.join(", "))
        }
        Value::Number(n) => n.to_string(),
    }
}

/// A value as Gemma 4 writes it.
fn gemma(value: &Value) -> String {
    match value {
        Value::String(text) => format!("<|\"|>{text}<|\"|>"),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(gemma).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(map) => {
            let items: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", gemma(v))).collect();
            format!("{{{}}}", items.join(","))
        }
        plain => plain.to_string(),
    }
}

fn python_calls(calls: Calls, between: &str) -> String {
    let call = |(name, value): &(&str, Value)| {
        let items = value.as_object().unwrap().iter();
        let items: Vec<String> = items.map(|(k, v)| format!("{k}={}", python(v))).collect();
        format!("{name}({})", items.join(", "))
    };
    let calls: Vec<String> = calls.iter().map(call).collect();
    calls.join(between)
}

/// One answer with these calls.
pub(super) fn render(format: Format, calls: Calls) -> String {
    let list = || format!("[{}]", objects(calls, "arguments").join(", "));
    match format {
        Format::Hermes => {
            let block = |o: &String| format!("<tool_call>\n{o}\n</tool_call>");
            let blocks: Vec<String> = objects(calls, "arguments").iter().map(block).collect();
            blocks.join("\n")
        }
        Format::Llama3 => objects(calls, "parameters").join("; "),
        Format::Mistral => each(calls, |n, v| format!("[TOOL_CALLS]{n}[ARGS]{v}")),
        Format::Phi4 => format!("<|tool_call|>{}<|/tool_call|>", list()),
        Format::Granite => format!("<|tool_call|>{}", list()),
        Format::ToolCalls => format!("<tool_calls>{}</tool_calls>", list()),
        Format::Nemotron => format!("<TOOLCALL>{}</TOOLCALL>", list()),
        Format::Cohere => {
            let object = |(i, (n, v)): (usize, &(&str, Value))| {
                format!(r#"    {{"tool_call_id": "{i}", "tool_name": "{n}", "parameters": {v}}}"#)
            };
            let objects: Vec<String> = calls.iter().enumerate().map(object).collect();
            format!("<|START_ACTION|>[\n{}\n]<|END_ACTION|>", objects.join(",\n"))
        }
        Format::Apertus => {
            let object = |(n, v): &(&str, Value)| format!(r#"{{"{n}": {v}}}"#);
            let objects: Vec<String> = calls.iter().map(object).collect();
            format!("<|tools_prefix|>[{}]<|tools_suffix|>", objects.join(", "))
        }
        Format::GigaChat => {
            let block = |o: &String| format!("<|function_call|>{o}");
            objects(calls, "arguments").iter().map(block).collect()
        }
        Format::Functionary => each(calls, |n, v| format!("<function={n}>{v}</function>")),
        Format::Kimi => {
            let call = |n: &str, v: &Value| {
                format!("<|tool_call_begin|>functions.{n}:0<|tool_call_argument_begin|>{v}<|tool_call_end|>")
            };
            let calls = each(calls, call);
            format!("<|tool_calls_section_begin|>{calls}<|tool_calls_section_end|>")
        }
        Format::Solar => {
            let call = |n: &str, v: &Value| {
                format!(
                    "<|tool_call:begin|>a1b2c3d4e5<|tool_call:name|>{n}<|tool_call:args|>{v}<|tool_call:end|>"
                )
            };
            format!("<|tool_calls|>{}", each(calls, call))
        }
        Format::DeepSeekV3 => {
            let call = |n: &str, v: &Value| {
                format!(
                    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{n}\n```json\n{v}\n```<｜tool▁call▁end｜>"
                )
            };
            format!("<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>", each(calls, call))
        }
        Format::DeepSeekV31 => {
            let call =
                |n: &str, v: &Value| format!("<｜tool▁call▁begin｜>{n}<｜tool▁sep｜>{v}<｜tool▁call▁end｜>");
            format!("<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>", each(calls, call))
        }
        Format::DeepSeekV4 => {
            let field = |v: &Value, key: &str, text: String| {
                let string = v[key].is_string();
                format!("<｜DSML｜parameter name=\"{key}\" string=\"{string}\">{text}</｜DSML｜parameter>\n")
            };
            let call = |n: &str, v: &Value| {
                let fields = fields(v, |key, text| field(v, key, text));
                format!("<｜DSML｜invoke name=\"{n}\">\n{fields}</｜DSML｜invoke>\n")
            };
            format!("<｜DSML｜tool_calls>\n{}</｜DSML｜tool_calls>", each(calls, call))
        }
        Format::Qwen3Coder => each(calls, |n, v| {
            let fields = fields(v, |key, text| {
                format!("<parameter={key}>\n{text}\n</parameter>\n")
            });
            format!("<tool_call>\n<function={n}>\n{fields}</function>\n</tool_call>")
        }),
        Format::SeedOss => each(calls, |n, v| {
            let fields = fields(v, |key, text| format!("<parameter={key}>{text}</parameter>\n"));
            format!("<seed:tool_call>\n<function={n}>\n{fields}</function>\n</seed:tool_call>")
        }),
        Format::Glm => each(calls, |n, v| {
            let field = |key: &str, text: String| {
                format!("<arg_key>{key}</arg_key>\n<arg_value>{text}</arg_value>\n")
            };
            format!("<tool_call>{n}\n{}</tool_call>", fields(v, field))
        }),
        Format::Pythonic => format!("[{}]", python_calls(calls, ", ")),
        Format::Lfm2 => format!(
            "<|tool_call_start|>[{}]<|tool_call_end|>",
            python_calls(calls, ", ")
        ),
        Format::Gemma3 => format!("```tool_code\n{}\n```", python_calls(calls, "\n")),
        Format::Gemma4 => each(calls, |n, v| {
            format!("<|tool_call>call:{n}{}<tool_call|>", gemma(v))
        }),
        Format::Harmony => {
            let call = |(n, v): &(&str, Value)| {
                format!("<|channel|>commentary to=functions.{n} <|constrain|>json<|message|>{v}<|call|>")
            };
            let calls: Vec<String> = calls.iter().map(call).collect();
            calls.join("<|start|>assistant")
        }
        Format::Hunyuan => {
            let field = |key: &str, text: String| {
                format!(
                    "<arg_key:opensource>{key}</arg_key:opensource>\n<arg_value:opensource>{text}</arg_value:opensource>\n"
                )
            };
            let call = |n: &str, v: &Value| {
                let fields = fields(v, field);
                format!("<tool_call:opensource>{n}<tool_sep:opensource>\n{fields}</tool_call:opensource>\n")
            };
            format!(
                "<tool_calls:opensource>\n{}</tool_calls:opensource>",
                each(calls, call)
            )
        }
    }
}
