//! The program. Exit codes: 64 bad configuration, 1 failed start, 0 drained, 70 crashed or cut.

use std::process::ExitCode;

fn main() -> ExitCode {
    tautan::app::run(tautan::app::Seams::default())
}
