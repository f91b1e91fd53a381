//! What a verb can fail with, and the exit status that goes with it.

use std::fmt;

/// A failure with its exit status.
#[derive(Debug)]
pub struct CliError {
    status: u8,
    message: String,
    closed_pipe: bool,
}

impl CliError {
    /// The command line or the input is wrong: exit status 2.
    pub fn input(message: impl fmt::Display) -> CliError {
        CliError {
            status: 2,
            message: one_line(&message.to_string()),
            closed_pipe: false,
        }
    }

    /// The work failed: exit status 1.
    pub fn failed(message: impl fmt::Display) -> CliError {
        CliError {
            status: 1,
            message: one_line(&message.to_string()),
            closed_pipe: false,
        }
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// Whether the reader of stdout went away, which is no failure.
    pub fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }
}

/// An error is one line, whatever a file's own names contain.
fn one_line(message: &str) -> String {
    message
        .split(['\n', '\r'])
        .filter(|l| !l.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<std::io::Error> for CliError {
    /// For writes to stdout.
    fn from(error: std::io::Error) -> CliError {
        let closed_pipe = error.kind() == std::io::ErrorKind::BrokenPipe;
        CliError {
            closed_pipe,
            ..CliError::failed(error)
        }
    }
}

impl From<crate::build::BuildError> for CliError {
    /// Errors of passes are ours, whatever the model.
    fn from(error: crate::build::BuildError) -> CliError {
        match error {
            crate::build::BuildError::Pass(_) => CliError::failed(error),
            error => CliError::input(error),
        }
    }
}

impl From<lathe_runtime::Error> for CliError {
    fn from(error: lathe_runtime::Error) -> CliError {
        match error {
            lathe_runtime::Error::Step(_) | lathe_runtime::Error::Device(_) => CliError::failed(error),
            error => CliError::input(error),
        }
    }
}

impl From<lathe_frontend::Error> for CliError {
    fn from(error: lathe_frontend::Error) -> CliError {
        CliError::input(error)
    }
}

/// Reads a text file that the user named.
pub fn read_text(path: &std::path::Path) -> Result<String, CliError> {
    let bytes =
        std::fs::read(path).map_err(|e| CliError::input(format!("{} can't be read: {e}", path.display())))?;
    String::from_utf8(bytes).map_err(|e| {
        CliError::input(format!(
            "{} is not UTF-8 from byte {} on",
            path.display(),
            e.utf8_error().valid_up_to()
        ))
    })
}
