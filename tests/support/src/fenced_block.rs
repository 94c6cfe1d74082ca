//! The fenced blocks of a Markdown document, for tests that run the commands in them.

/// A block, and where it stands.
#[derive(Clone, Debug)]
pub struct FencedBlock {
    pub document: String,
    /// The heading above it.
    pub heading: String,
    /// The line of its first line in the document, counted from 1.
    pub line: usize,
    /// What stands behind the opening fence.
    pub info: String,
    pub text: String,
}

impl FencedBlock {
    /// The blocks of this document, in order.
    ///
    /// # Panics
    /// If a block has no end.
    pub fn all(document: &str, text: &str) -> Vec<Self> {
        let mut blocks = Vec::new();
        let (mut heading, mut open) = (String::new(), None::<Self>);
        for (number, line) in text.lines().enumerate() {
            match (line.strip_prefix("```"), open.take()) {
                (Some(info), None) => {
                    let (document, info) = (document.to_owned(), info.to_owned());
                    let heading = heading.clone();
                    open = Some(Self { document, heading, line: number + 2, info, text: String::new() });
                }
                (Some(_), Some(block)) => blocks.push(block),
                (None, Some(mut block)) => {
                    block.text.extend([line, "\n"]);
                    open = Some(block);
                }
                (None, None) if line.starts_with('#') => line.trim_start_matches('#').trim().clone_into(&mut heading),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "a block of {document} has no end");
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_knows_its_heading_and_line() {
        let text = "# One\n\n```sh\na\nb\n```\n## Two\n```sh by-hand: why\n# no heading\n```\n```text\n```\n";
        let found = FencedBlock::all("d", text);
        let found: Vec<_> =
            found.iter().map(|b| (b.heading.as_str(), b.line, b.info.as_str(), b.text.as_str())).collect();
        let expected =
            [("One", 4, "sh", "a\nb\n"), ("Two", 9, "sh by-hand: why", "# no heading\n"), ("Two", 12, "text", "")];
        assert_eq!(found, expected);
    }
}
