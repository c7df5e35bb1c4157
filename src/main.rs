//! The `lab` binary: parses its arguments, runs the verb, and exits with the verb's code.

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::cli::main()
}
