//! `/health` and `/v1/models`.

use crate::Served;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::sync::Arc;

/// 200 as long as the server answers.
pub async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The one model served.
pub async fn models(State(served): State<Arc<Served>>) -> Json<Value> {
    Json(json!({"object": "list", "data": [card(&served)]}))
}

/// One model by name.
pub async fn model(
    State(served): State<Arc<Served>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    served.check_model(Some(&id))?;
    Ok(Json(card(&served)))
}

fn card(served: &Served) -> Value {
    json!({"id": served.model, "object": "model", "created": served.created, "owned_by": "lathe"})
}
