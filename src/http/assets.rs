use std::collections::HashMap;

use sha2::{Digest as _, Sha256};
use warp::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    path::FullPath,
    reply::Response,
};

use super::{
    Ask,
    error::{Code, Problem},
};

/// The page itself, with its placeholders: answered by [`super::page`].
pub const PAGE: &str = include_str!("../../static/index.html");

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        /// What `/static/` serves: the folder as it was when this program was built.
        const FILES: &[(&str, &[u8])] = &[$(($name, include_bytes!(concat!("../../static/", $name)))),+];
    };
}

files![
    "confirm.js",
    "connection.js",
    "deadline.js",
    "dom.js",
    "icon.svg",
    "icons.js",
    "model.js",
    "page.css",
    "page.js",
    "pair.js",
    "parts.js",
    "phone.js",
    "scan.js",
    "texts.en.js",
    "texts.id.js",
    "texts.js",
    "views.js",
    "whatsapp-link.css",
    "whatsapp-link.js",
    "words.js",
];

/// The files with what is computed of them once.
pub struct Assets(HashMap<&'static str, File>);

struct File {
    bytes: &'static [u8],
    etag: HeaderValue,
    kind: &'static str,
}

impl Assets {
    pub fn load() -> Self {
        Self(FILES.iter().map(|(name, bytes)| (*name, File::new(name, bytes))).collect())
    }
}

impl File {
    fn new(name: &str, bytes: &'static [u8]) -> Self {
        use std::fmt::Write as _;
        let mut etag = String::from("\"");
        for byte in &Sha256::digest(bytes)[..12] {
            write!(etag, "{byte:02x}").expect("writing into a string cannot fail");
        }
        etag.push('"');
        let etag = HeaderValue::try_from(etag).expect("quoted hexadecimal digits can stand in a header");
        Self { bytes, etag, kind: kind(name) }
    }
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// Public, and for pages of any origin: a SaaS page on another subdomain embeds the component from here.
pub fn asset(ask: Ask, path: FullPath) -> Result<Response, Problem> {
    let name = path.as_str().trim_start_matches("/static/");
    let file = ask.context.assets.0.get(name).ok_or_else(|| Problem::new(Code::NotFound, "no such file"))?;
    let mut answer = if is_known(&ask.headers, &file.etag) {
        let mut answer = Response::new("".into());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        Response::new(file.bytes.into())
    };
    let headers = answer.headers_mut();
    headers.insert(header::ETAG, file.etag.clone());
    for (name, value) in [
        (header::CONTENT_TYPE, file.kind),
        // Asked for each time, answered in a line: a new version is in use at once, and no name changes.
        (header::CACHE_CONTROL, "no-cache"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    Ok(answer)
}

/// `If-None-Match` compares weakly (RFC 9110 section 13.1.2): a proxy that compresses may have made our tag a weak one.
fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.trim_start_matches("W/").as_bytes() == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_folder_is_served_and_has_a_type() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/static");
        let there: BTreeSet<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let served: BTreeSet<String> =
            FILES.iter().map(|(name, _)| *name).chain(["index.html"]).map(String::from).collect();
        assert_eq!(there, served);
        assert!(FILES.iter().all(|(name, _)| kind(name) != "application/octet-stream"));
    }
}
