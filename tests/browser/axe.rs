use std::{path::Path, process::Command, sync::OnceLock};

use serde_json::{Value, json};

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
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe");
    let file = folder.join("node_modules/axe-core/axe.min.js");
    if !file.exists() {
        std::fs::create_dir_all(&folder).expect("the target directory can be written");
        for (name, text) in [
            ("package.json", include_str!("axe/package.json")),
            ("package-lock.json", include_str!("axe/package-lock.json")),
        ] {
            std::fs::write(folder.join(name), text).expect("the target directory can be written");
        }
        let mut npm = Command::new("npm");
        let Ok(npm) = npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder).output()
        else {
            println!("NOT RUN: axe (npm is not installed)");
            assert!(std::env::var_os("CI").is_none(), "CI has to run axe");
            return None;
        };
        assert!(npm.status.success(), "npm ci failed:\n{}", String::from_utf8_lossy(&npm.stderr));
    }
    Some(std::fs::read_to_string(file).expect("npm has put it there"))
}
