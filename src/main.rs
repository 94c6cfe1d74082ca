//! The program. Exit codes: 0 drained, 1 the start failed, 64 bad configuration, 70 crashed, or the drain was cut.

use std::process::ExitCode;

fn main() -> ExitCode {
    tautan::app::run(tautan::app::Seams::default())
}
