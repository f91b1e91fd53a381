//! `POST /v1/completions`.

use super::reply::{self, answer, blocking};
use crate::Served;
use crate::error::ApiError;
use crate::wire::{CompletionBody, Kind, Prompt};
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;

/// Continues a text.
pub async fn create(State(served): State<Arc<Served>>, body: Bytes) -> Result<Response, ApiError> {
    served.check_text()?;
    let body: CompletionBody = serde_json::from_slice(&body)
        .map_err(|e| ApiError::body(format!("the body is no completion request: {e}")))?;
    served.check_model(body.common.model.as_deref())?;
    body.common.refuse_unsupported()?;
    if body.common.tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
        return Err(ApiError::unsupported("tools", "calling tools outside of a chat"));
    }
    let (shared, prompt) = (served.clone(), body.prompt);
    let prompt = blocking(move || tokens(&shared, prompt)).await??;
    let common = crate::wire::Common {
        max_tokens: body.common.max_tokens.or(Some(16)),
        ..body.common
    };
    let prompt = reply::Prompt {
        tokens: prompt,
        ..reply::Prompt::default()
    };
    answer(&served, Kind::Text, &common, prompt).await
}

fn tokens(served: &Served, prompt: Prompt) -> Result<Vec<u32>, ApiError> {
    let several = || ApiError::unsupported("prompt", "more than one prompt in a request");
    match prompt {
        Prompt::Text(text) => served
            .prompter
            .text(&text)
            .map_err(|e| ApiError::invalid("prompt", e)),
        Prompt::Tokens(tokens) => Ok(tokens),
        Prompt::Texts(texts) => match &texts[..] {
            [text] => served
                .prompter
                .text(text)
                .map_err(|e| ApiError::invalid("prompt", e)),
            _ => Err(several()),
        },
        Prompt::TokenLists(mut lists) if lists.len() == 1 => Ok(lists.remove(0)),
        Prompt::TokenLists(_) => Err(several()),
    }
}
