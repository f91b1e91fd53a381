//! Progress of downloads: a bar on a terminal, nothing where stderr is piped.

use crate::store;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// Draws what the store reports.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar that appears with the first report.
    pub fn new() -> Progress {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Progress { bar }
    }
}

impl store::Progress for Progress {
    fn begin(&mut self, what: &str, done: u64, total: Option<u64>) {
        self.bar.set_message(what.to_owned());
        self.bar.set_length(total.unwrap_or(0));
        self.bar.set_position(done);
    }

    fn advance(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn message(&mut self, text: &str) {
        self.bar.suspend(|| eprintln!("lathe: {text}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
