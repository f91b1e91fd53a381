//! `POST /v1/chat/completions`.

use super::reply::{Kind, answer, blocking};
use crate::Served;
use crate::error::ApiError;
use crate::wire::{ChatBody, normalize_messages};
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;

/// Continues a conversation.
pub async fn create(State(served): State<Arc<Served>>, body: Bytes) -> Result<Response, ApiError> {
    let mut body: ChatBody = serde_json::from_slice(&body)
        .map_err(|e| ApiError::body(format!("the body is no chat request: {e}")))?;
    served.check_model(body.common.model.as_deref())?;
    body.common.refuse_unsupported()?;
    normalize_messages(&mut body.messages)?;
    let prompter = served.prompter.clone();
    let prompt = blocking(move || prompter.chat(&body.messages)).await?;
    let prompt = prompt.map_err(|e| ApiError::invalid("messages", e))?;
    answer(&served, Kind::Chat, &body.common, prompt).await
}
