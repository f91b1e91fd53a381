//! `POST /v1/embeddings`.

use super::reply::blocking;
use crate::Served;
use crate::error::ApiError;
use crate::wire::{EmbeddingBody, Encoding, Prompt};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lathe_runtime::{Embedding, EmbeddingRequest};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most elements of `input`, as in OpenAI's API.
const INPUTS: usize = 2048;
/// Texts of one request that the engine has at once; the others leave its queue to other requests.
const SIDE_BY_SIDE: usize = 32;

/// Embeds texts.
pub async fn create(State(served): State<Arc<Served>>, body: Bytes) -> Result<Response, ApiError> {
    let pooling = served.check_embeddings()?;
    let body: EmbeddingBody = serde_json::from_slice(&body)
        .map_err(|e| ApiError::body(format!("the body is no embedding request: {e}")))?;
    served.check_model(body.model.as_deref())?;
    let (shared, input) = (served.clone(), body.input);
    let inputs = blocking(move || tokens(&shared, input)).await??;
    let requests = inputs.into_iter().map(|tokens| EmbeddingRequest {
        tokens,
        pooling,
        normalize: true,
    });
    let embeddings = embed(&served, requests).await?;
    body.dimensions
        .map_or(Ok(()), |asked| check_dimensions(asked, &embeddings))?;
    let used = embeddings.iter().map(|e| e.tokens).sum();
    let entry = |(index, embedding): (usize, Embedding)| Entry {
        object: "embedding",
        index,
        embedding: match body.encoding_format {
            Encoding::Float => Values::Float(embedding.values),
            Encoding::Base64 => Values::Base64(base64(&embedding.values)),
        },
    };
    let list = List {
        object: "list",
        data: embeddings.into_iter().enumerate().map(entry).collect(),
        model: &served.model,
        usage: Usage {
            prompt_tokens: used,
            total_tokens: used,
        },
    };
    Ok(Json(list).into_response())
}

/// The answer.
#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Entry>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Entry {
    object: &'static str,
    index: usize,
    embedding: Values,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Values {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// The tokens of each element of `input`.
fn tokens(served: &Served, input: Prompt) -> Result<Vec<Vec<u32>>, ApiError> {
    let text = |(index, text): (usize, String)| {
        let tokens = served.prompter.text(&text);
        tokens.map_err(|e| ApiError::invalid("input", e).of_input(index))
    };
    let count = match &input {
        Prompt::Text(_) | Prompt::Tokens(_) => 1,
        Prompt::Texts(texts) => texts.len(),
        Prompt::TokenLists(lists) => lists.len(),
    };
    if count > INPUTS {
        let message = format!("`input` has {count} elements; at most {INPUTS} are taken at once");
        return Err(ApiError::invalid("input", message));
    }
    match input {
        Prompt::Text(one) => Ok(vec![text((0, one))?]),
        Prompt::Texts(texts) => texts.into_iter().enumerate().map(text).collect(),
        Prompt::Tokens(tokens) => Ok(vec![tokens]),
        Prompt::TokenLists(lists) => Ok(lists),
    }
}

/// Runs requests; the embeddings are in their order.
async fn embed(
    served: &Served,
    requests: impl Iterator<Item = EmbeddingRequest>,
) -> Result<Vec<Embedding>, ApiError> {
    let mut embeddings = Vec::new();
    let mut under_way = VecDeque::new();
    let mut requests = requests.fuse();
    loop {
        while under_way.len() < SIDE_BY_SIDE
            && let Some(request) = requests.next()
        {
            under_way.push_back(served.queue.submit_embedding(request)?);
        }
        let Some(next) = under_way.pop_front() else {
            return Ok(embeddings);
        };
        let result = next
            .await
            .map_err(|_| ApiError::internal("the engine stopped before the answer was complete"))?;
        embeddings.push(result.map_err(|e| e.of_input(embeddings.len()))?);
    }
}

/// Shortened embeddings are for models that were trained for them, which files do not tell.
fn check_dimensions(asked: u64, embeddings: &[Embedding]) -> Result<(), ApiError> {
    match embeddings.first() {
        Some(embedding) if asked != embedding.width as u64 => Err(ApiError::invalid(
            "dimensions",
            format!(
                "`dimensions` is {asked}, but the model\'s embeddings have {}",
                embedding.width
            ),
        )),
        _ => Ok(()),
    }
}

/// The numbers as little-endian f32, in base64 (RFC 4648, with padding).
fn base64(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // Encoded by Python's `base64.b64encode(struct.pack("<nf", …))`.
        assert_eq!(base64(&[]), "");
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(base64(&[0.1, 3e-9, f32::MAX]), "zczMPY8oTjH//39/");
    }
}
