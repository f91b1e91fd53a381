//! Chat templates: the Jinja program in `tokenizer.chat_template`, rendered as Hugging Face `transformers` does.
//!
//! Here: [`ChatTemplate`] (compile once, render many), its inputs and its errors. `json` has the JSON filters, `time`
//! the clock and `strftime`, `python` the places where Jinja2 differs from minijinja, `rewrite` what has to be done to
//! the source before compiling. Nothing here knows a model or a tokenizer.

mod json;
mod python;
mod rewrite;
mod time;

use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value};
use thiserror::Error;

pub use time::DateTime;

/// Budget of one render in minijinja fuel: about one unit an instruction and one per 64 bytes made. A template comes
/// with a downloaded file, so it must neither hang the process nor eat its memory; real ones use some thousands.
const RENDER_FUEL: u64 = 10_000_000;

/// The name under which the template is compiled; it shows in minijinja's own messages.
const TEMPLATE_NAME: &str = "chat_template";

/// Why a chat template could not be compiled or rendered.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// The source is not a valid template.
    #[error("chat template: line {line}: {message}")]
    Syntax {
        /// 1-based line in the template source (0 if unknown).
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The template itself refused the conversation through `raise_exception`.
    #[error("chat template refuses the conversation: {0}")]
    Refused(String),
    /// An operation failed while rendering.
    #[error("chat template: line {line}: {message}")]
    Render {
        /// 1-based line in the template source (0 if unknown).
        line: usize,
        /// What went wrong there.
        message: String,
    },
}

/// The conversation to render, in the shape of OpenAI's chat API.
#[derive(Debug, Clone, Default)]
pub struct RenderInput {
    /// Array of message objects (`role`, `content`, `tool_calls`, …).
    pub messages: serde_json::Value,
    /// Array of tool objects, where there are any.
    pub tools: Option<serde_json::Value>,
    /// Whether to end with the opening of an assistant turn.
    pub add_generation_prompt: bool,
    /// More variables (`enable_thinking`, `documents`, …); they win over the standard ones.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// The time that `strftime_now` formats; the system clock (UTC) where absent.
    pub now: Option<DateTime>,
}

/// A compiled chat template with the special tokens that it may name.
pub struct ChatTemplate {
    env: Environment<'static>,
    source: String,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Compiles `source`; `bos_token` and `eos_token` are the texts of those tokens ("" for a model without one).
    pub fn new(source: &str, bos_token: &str, eos_token: &str) -> Result<Self, TemplateError> {
        let mut env = Environment::new();
        env.set_syntax(transformers_syntax()?);
        python::install(&mut env);
        env.set_fuel(Some(RENDER_FUEL));
        env.add_function("raise_exception", raise_exception);
        env.add_filter("tojson", json::tojson);
        env.add_filter("from_json", json::from_json);
        env.add_template_owned(TEMPLATE_NAME, rewrite::rewrite(source))
            .map_err(syntax_error)?;
        Ok(Self {
            env,
            source: source.into(),
            bos_token: bos_token.into(),
            eos_token: eos_token.into(),
        })
    }

    /// The template as it was given to [`ChatTemplate::new`].
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders the prompt text. Its special tokens are spelled out, so encode it with `parse_special` on and
    /// `add_special` off.
    pub fn render(&self, input: &RenderInput) -> Result<String, TemplateError> {
        let template = self.env.get_template(TEMPLATE_NAME).map_err(render_error)?;
        template.render(self.context(input)).map_err(render_error)
    }

    fn context(&self, input: &RenderInput) -> Value {
        let now = input.now.unwrap_or_else(DateTime::system_utc);
        let tools = input
            .tools
            .as_ref()
            .map_or(Value::from(()), json::to_template_value);
        let standard = [
            ("messages", json::to_template_value(&input.messages)),
            ("tools", tools),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(input.add_generation_prompt)),
            ("bos_token", Value::from(self.bos_token.as_str())),
            ("eos_token", Value::from(self.eos_token.as_str())),
            (
                "strftime_now",
                Value::from_function(move |format: &str| time::strftime(&now, format)),
            ),
        ];
        let standard = standard
            .into_iter()
            .map(|(name, value)| (Value::from(name), value));
        let extra = input
            .extra
            .iter()
            .map(|(name, v)| (Value::from(name.as_str()), json::to_template_value(v)));
        Value::from_pairs(standard.chain(extra))
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("source", &self.source)
            .field("bos_token", &self.bos_token)
            .field("eos_token", &self.eos_token)
            .finish_non_exhaustive()
    }
}

/// Whitespace rules of `transformers`: a block tag takes its own line away.
fn transformers_syntax() -> Result<SyntaxConfig, TemplateError> {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(syntax_error)
}

/// Marks an error as raised by the template on purpose, so that callers can tell it from a fault.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn raise_exception(message: &Value) -> Result<Value, minijinja::Error> {
    let raised = Raised(message.to_string());
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(raised))
}

fn syntax_error(error: minijinja::Error) -> TemplateError {
    TemplateError::Syntax {
        line: error.line().unwrap_or(0),
        message: message_of(&error),
    }
}

fn render_error(error: minijinja::Error) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(e) = cause {
        if let Some(raised) = e.downcast_ref::<Raised>() {
            return TemplateError::Refused(raised.0.clone());
        }
        cause = e.source();
    }
    TemplateError::Render {
        line: error.line().unwrap_or(0),
        message: message_of(&error),
    }
}

/// Kind and detail without minijinja's "(in file:line)", which the variants carry themselves.
fn message_of(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str, input: RenderInput) -> Result<String, TemplateError> {
        ChatTemplate::new(source, "<s>", "</s>")?.render(&input)
    }

    fn hello() -> RenderInput {
        RenderInput {
            messages: json!([{"role": "user", "content": "Hi <b>"}]),
            ..RenderInput::default()
        }
    }

    #[test]
    fn renders_messages_with_special_tokens_unescaped() {
        let source = "{{ bos_token }}{% for m in messages %}\n  [{{ m.role }}] {{ m['content'] }}{{ eos_token }}\n\
                      {% endfor %}\n{%- if add_generation_prompt %}[assistant]{% endif %}";
        let input = RenderInput {
            add_generation_prompt: true,
            ..hello()
        };
        assert_eq!(
            render(source, input).unwrap(),
            "<s>  [user] Hi <b></s>\n[assistant]"
        );
    }

    #[test]
    fn loop_controls_and_namespace_work() {
        let source = "{% set ns = namespace(n=0) %}{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}\
                      {% if i == 4 %}{% break %}{% endif %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}";
        assert_eq!(render(source, hello()).unwrap(), "5");
    }

    #[test]
    fn python_methods_and_reprs_work() {
        let source =
            "{{ messages[0].content.split(' ')[1].strip('<>').upper() }} {{ messages[0] }} {{ tools }}";
        assert_eq!(
            render(source, hello()).unwrap(),
            "B {'role': 'user', 'content': 'Hi <b>'} None"
        );
    }

    #[test]
    fn raise_exception_is_a_refusal_with_its_message() {
        let error = render("{{ raise_exception('roles must alternate') }}", hello()).unwrap_err();
        assert!(
            matches!(&error, TemplateError::Refused(m) if m == "roles must alternate"),
            "{error}"
        );
    }

    #[test]
    fn faults_name_their_line() {
        let error = render("a\nb\n{{ messages[0].nothing.more }}", hello()).unwrap_err();
        assert!(matches!(error, TemplateError::Render { line: 3, .. }), "{error}");
        let error = ChatTemplate::new("a\n{% if %}", "", "").unwrap_err();
        assert!(matches!(error, TemplateError::Syntax { line: 2, .. }), "{error}");
    }

    #[test]
    fn the_clock_is_injectable_and_testable_for() {
        let now = DateTime {
            year: 2024,
            month: 2,
            day: 29,
            hour: 23,
            minute: 5,
            second: 9,
        };
        let input = RenderInput {
            now: Some(now),
            ..hello()
        };
        let source = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}";
        assert_eq!(render(source, input).unwrap(), "29 Feb 2024");
    }

    #[test]
    fn extra_variables_win() {
        let mut input = hello();
        input.extra.insert("enable_thinking".into(), json!(false));
        input.extra.insert("bos_token".into(), json!("B"));
        let source = "{{ bos_token }}{{ enable_thinking is defined and not enable_thinking }}";
        assert_eq!(render(source, input).unwrap(), "BTrue");
    }

    #[test]
    fn lists_are_immutable_as_in_the_sandbox() {
        assert!(render("{% set l = [] %}{% set _ = l.append(1) %}", hello()).is_err());
    }

    #[test]
    fn runaway_templates_run_out_of_fuel() {
        let loops = "{% for a in range(9999) %}".repeat(4) + "x" + &"{% endfor %}".repeat(4);
        assert!(matches!(
            render(&loops, hello()),
            Err(TemplateError::Render { .. })
        ));
        let doubling = "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}\
                        {% endfor %}";
        assert!(matches!(
            render(doubling, hello()),
            Err(TemplateError::Render { .. })
        ));
    }
}
