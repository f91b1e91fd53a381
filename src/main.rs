//! The `lathe` command. Everything it does is in [`lathe::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    lathe::cli::main()
}
