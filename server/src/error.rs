//! Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` with a fitting status.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// What a client is told when a request fails.
#[derive(Clone, PartialEq, Debug)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// One clear sentence.
    pub message: String,
    /// The request field at fault.
    pub param: Option<&'static str>,
    /// A word that programs can test.
    pub code: Option<&'static str>,
}

impl ApiError {
    /// 400: the field `param` is wrong.
    pub fn invalid(param: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            param: Some(param),
            code: None,
        }
    }

    /// 400: the field `param` asks for something that is not there.
    pub fn unsupported(param: &'static str, what: &str) -> ApiError {
        let message = format!("`{param}`: {what} is not supported");
        ApiError {
            code: Some("unsupported_parameter"),
            ..ApiError::invalid(param, message)
        }
    }

    /// 400: the body is no JSON of the right shape.
    pub fn body(message: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    /// The same error of the element `index` of `input`, where the request is at fault.
    pub fn of_input(self, index: usize) -> ApiError {
        if self.status != StatusCode::BAD_REQUEST {
            return self;
        }
        ApiError {
            message: format!("input {index}: {}", self.message),
            param: Some("input"),
            ..self
        }
    }

    /// 404: no such model.
    pub fn model(asked: &str, served: &str) -> ApiError {
        ApiError {
            status: StatusCode::NOT_FOUND,
            message: format!("the model `{asked}` is not served here; `{served}` is"),
            param: Some("model"),
            code: Some("model_not_found"),
        }
    }

    /// 500: the engine failed.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    /// 503: the queue is full, the engine is gone, or the device failed.
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..ApiError::internal(message)
        }
    }

    /// The JSON body.
    pub fn to_json(&self) -> serde_json::Value {
        let kind = match self.status {
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.to_json())).into_response()
    }
}

impl From<lathe_runtime::Error> for ApiError {
    fn from(error: lathe_runtime::Error) -> ApiError {
        use lathe_runtime::Error as E;
        use lathe_runtime::schedule::Refused;
        let message = error.to_string();
        match error {
            // What is asked again later may be answered.
            _ if error.is_of_device() => ApiError::unavailable(message),
            E::PromptTooLong { .. } => ApiError {
                code: Some("context_length_exceeded"),
                ..ApiError::invalid("messages", message)
            },
            E::Parameter { name, .. } => ApiError::invalid(name, message),
            E::Constraint(_) => ApiError::invalid("response_format", message),
            E::EmptyPrompt | E::TokenRange { .. } => ApiError::invalid("prompt", message),
            E::Refused(Refused::QueueFull { .. }) => ApiError::unavailable(message),
            E::Refused(_) => ApiError::invalid("prompt", message),
            E::Output { .. } => ApiError::body(message),
            E::Cancelled | E::Device(_) => ApiError::unavailable(message),
            E::Step(_)
            | E::NoToken
            | E::NotFinite
            | E::Lost
            | E::Commit(_)
            | E::NoThread
            | E::Draft { .. }
            | E::Prefix(_) => ApiError::internal(message),
        }
    }
}
