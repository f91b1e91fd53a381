//! Why a constraint can't be had, or can't go on.

/// Most characters of a message that is not ours.
const LONGEST: usize = 300;

/// Why a constraint is refused, or failed while text was made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{message}", place.as_ref().map(|p| format!("{p}: ")).unwrap_or_default())]
pub struct ConstraintError {
    /// Where in the constraint's text: a JSON pointer into a schema (`#/properties/a`), or line and column.
    pub place: Option<String>,
    /// What is wrong there.
    pub message: String,
}

impl ConstraintError {
    /// An error without a place.
    pub fn new(message: impl Into<String>) -> ConstraintError {
        ConstraintError {
            place: None,
            message: message.into(),
        }
    }

    /// An error at a place.
    pub(super) fn at(place: impl Into<String>, message: impl Into<String>) -> ConstraintError {
        ConstraintError {
            place: Some(place.into()),
            message: message.into(),
        }
    }

    /// An error of the grammar compiler: the line of its message that says what is wrong, else the first; it may go on
    /// with dumps.
    pub(super) fn of_compiler(error: impl std::fmt::Display) -> ConstraintError {
        let text = error.to_string();
        let said = text.lines().find_map(|line| line.trim().strip_prefix("error: "));
        let line = said.or_else(|| text.lines().find(|line| !line.trim().is_empty()));
        let message: String = line.unwrap_or("no reason given").chars().take(LONGEST).collect();
        ConstraintError::new(message.trim())
    }
}
