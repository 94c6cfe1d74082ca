//! Makes the served files smaller: without comments and indentation, joined, and compressed. `static/` keeps the
//! readable form.

use std::num::NonZeroU64;

use brotli::{BrotliCompress, enc::BrotliEncoderParams};
use zopfli::{Format, Options};

/// Removes lines that are comments, and indentation. A comment behind code stays: the inside of a line is not read, so
/// that no text and no regular expression is taken for a comment.
pub fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_comment = false;
    for line in text.lines().map(str::trim) {
        if in_comment || line.starts_with("/*") {
            in_comment = !line.ends_with("*/");
        } else if !line.is_empty() && !line.starts_with("//") {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Joins several modules into one, given in the order of their imports. It removes the imports, and `export` in all but
/// the last. Our modules import by name, one line each, and share no top-level name.
pub fn join(modules: &[(&str, &str)]) -> String {
    let (_, last) = modules.last().expect("there is a module");
    let mut out = String::new();
    for (_, module) in modules {
        for line in without_comments(module).lines().filter(|line| !line.starts_with("import {")) {
            let inner = if module == last { line } else { line.strip_prefix("export ").unwrap_or(line) };
            out.push_str(inner);
            out.push('\n');
        }
    }
    out
}

/// More rounds than this take longer and save nothing more of our files.
const ROUNDS: NonZeroU64 = NonZeroU64::new(5).expect("not zero");

/// As small as gzip gets, at some ten milliseconds for each file.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let options = Options { iteration_count: ROUNDS, ..Options::default() };
    let mut packed = Vec::new();
    zopfli::compress(options, Format::Gzip, bytes, &mut packed).expect("writing into memory cannot fail");
    packed
}

/// The strongest of its levels.
const QUALITY: i32 = 11;

pub fn brotli(bytes: &[u8]) -> Vec<u8> {
    let params = BrotliEncoderParams { quality: QUALITY, size_hint: bytes.len(), ..BrotliEncoderParams::default() };
    let (mut packed, mut bytes) = (Vec::new(), bytes);
    BrotliCompress(&mut bytes, &mut packed, &params).expect("writing into memory cannot fail");
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_on_lines_of_their_own_and_indentation_fall_away() {
        let text = "// why\nconst a = '// no';\n\n/**\n * why\n */\nfunction b() {\n  return /\\/*x/; // stays\n}\n/* one */\n";
        assert_eq!(without_comments(text), "const a = '// no';\nfunction b() {\nreturn /\\/*x/; // stays\n}\n");
    }

    #[test]
    fn joined_module_exports_what_the_last_module_exports() {
        let modules = [
            ("a.js", "export const one = 1;\n"),
            ("b.js", "import { one } from './a.js';\n\nexport class B {\n  x = one;\n}\nimport(`./${one}.js`);\n"),
        ];
        assert_eq!(join(&modules), "const one = 1;\nexport class B {\nx = one;\n}\nimport(`./${one}.js`);\n");
    }
}
