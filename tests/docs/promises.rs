//! What the page promises to its reader.

use super::{files, root};

/// Nothing reads customers' messages yet, so no text may promise that they arrive. The sentence comes back with messages,
/// and this test goes then.
#[test]
fn card_promises_no_messages() {
    let mut texts = Vec::new();
    files(&root().join("static"), "js", &mut texts);
    texts.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("texts.")));
    assert_eq!(texts.len(), 6, "{texts:?}");
    for path in texts {
        let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
        for word in ["pesan", "message", "mensaj", "mensag", "संदेश", "رسائل", "رسالة"] {
            assert!(!text.contains(word), "{word} in {}", path.display());
        }
    }
}
