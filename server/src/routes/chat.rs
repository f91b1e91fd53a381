//! `POST /v1/chat/completions`.

use super::message::Reader;
use super::reply::{Prompt, answer, blocking};
use crate::error::ApiError;
use crate::tools::ToolUse;
use crate::wire::{ChatBody, Kind, normalize_messages};
use crate::{Conversation, Served};
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use lathe_runtime::constrain::{Constraint, Grammar, Start};
use lathe_runtime::tools::{Format, Tool};
use std::sync::Arc;

/// Continues a conversation.
pub async fn create(State(served): State<Arc<Served>>, body: Bytes) -> Result<Response, ApiError> {
    served.check_text()?;
    let mut body: ChatBody = serde_json::from_slice(&body)
        .map_err(|e| ApiError::body(format!("the body is no chat request: {e}")))?;
    served.check_model(body.common.model.as_deref())?;
    body.common.refuse_unsupported()?;
    normalize_messages(&mut body.messages)?;
    let tools = ToolUse::of(&body.common)?;
    let constrained = body.common.constraint()?.is_some();
    if tools.must && constrained {
        let message = "`tool_choice` and the output format both say what the answer must be";
        return Err(ApiError::invalid("tool_choice", message));
    }
    let conversation = Conversation {
        messages: body.messages,
        tools: tools.shown.clone(),
        variables: body.common.chat_template_kwargs.clone().unwrap_or_default(),
    };
    let prompt = {
        let served = served.clone();
        blocking(move || prepare(&served, &conversation, tools, constrained)).await??
    };
    answer(&served, Kind::Chat, &body.common, prompt).await
}

/// The prompt of a conversation. Calls follow their schemas, from where an answer begins or from where it calls something;
/// where the request says itself what the answer must be, that holds alone.
fn prepare(
    served: &Served,
    conversation: &Conversation,
    tools: ToolUse,
    constrained: bool,
) -> Result<Prompt, ApiError> {
    let prompt = served.prompter.chat(conversation);
    let prompt = prompt.map_err(|e| ApiError::invalid("messages", e))?;
    let grammar = match prompt.format {
        None if !tools.shown.is_empty() => {
            let what = "calling tools in the way of this model's chat template";
            return Err(ApiError::unsupported("tools", what));
        }
        Some(format) if !tools.callable.is_empty() && !constrained => Some(calls(served, format, &tools)?),
        _ => None,
    };
    let reasoning = prompt.reasoning.as_ref();
    let inside = reasoning.filter(|reasoning| reasoning.starts_inside);
    let from = match (tools.must, prompt.format) {
        (false, Some(format)) if grammar.is_some() => {
            Start::With(format.openings(&tools.callable, reasoning))
        }
        _ => inside.map_or(Start::Now, |reasoning| Start::After(reasoning.close.clone())),
    };
    Ok(Prompt {
        from,
        tokens: prompt.tokens,
        spelled: prompt.marks,
        reader: Some(Reader {
            format: prompt.format,
            reasoning: prompt.reasoning,
            tools: tools.callable,
            held: tools.must,
        }),
        grammar,
    })
}

/// A grammar of calls and nothing else.
fn calls(served: &Served, format: Format, tools: &ToolUse) -> Result<Grammar, ApiError> {
    let token = |name: &str| served.prompter.control_token(name);
    let grammar = format.grammar(&tools.callable, tools.parallel, &token);
    let grammar = grammar.and_then(|text| served.prompter.grammar(&Constraint::Lark(text)));
    grammar.map_err(|error| {
        // The tool at fault, and the place in its own schema.
        let refused = |tool: &Tool| {
            let schema = Constraint::JsonSchema(tool.parameters.clone());
            let error = served.prompter.grammar(&schema).err().filter(|_| tool.strict)?;
            Some(format!("the schema of `{}` can't be held to: {error}", tool.name))
        };
        let what = tools.callable.iter().find_map(refused);
        let what = what.unwrap_or_else(|| format!("`tools` can't be held to: {error}"));
        ApiError::invalid(
            "tools",
            format!("{what} (calls of a tool with `strict: false` are not)"),
        )
    })
}
