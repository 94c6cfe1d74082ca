use std::{path::Path, sync::OnceLock};

use serde_json::{Value, json};
use tautan_test_support::npm_packages;

use crate::browser::Browser;

/// What axe, the accessibility checker, finds on the page as it is now. `None`: it could not be fetched.
pub async fn complaints(browser: &Browser) -> Option<Value> {
    let source = source()?;
    if browser.run("return typeof axe", Vec::new()).await == "undefined" {
        browser.run(source, Vec::new()).await;
    }
    Some(browser.run_async(RUN, Vec::new()).await)
}

pub async fn finds_nothing(browser: &Browser, what: &str) {
    if let Some(found) = complaints(browser).await {
        assert_eq!(found, json!([]), "{what}");
    }
}

const RUN: &str = "
    const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    const done = arguments[0];
    axe.run(document, { runOnly: rules, resultTypes: ['violations'] }).then(({ violations }) =>
        done(violations.map(({ id, nodes }) => [id, ...nodes.map((node) => `${node.html.slice(0, 160)} ${node.failureSummary}`)])));
";

/// Fetched once into the target directory. `None`: there is no npm, and the test has said so.
fn source() -> Option<&'static str> {
    static SOURCE: OnceLock<Option<String>> = OnceLock::new();
    SOURCE.get_or_init(fetch).as_deref()
}

fn fetch() -> Option<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/axe");
    let folder = npm_packages(&source, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe"))?;
    Some(std::fs::read_to_string(folder.join("node_modules/axe-core/axe.min.js")).expect("npm has put it there"))
}
