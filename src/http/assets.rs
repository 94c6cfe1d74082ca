//! `/static/…`: the files of the page and of the element, built into the program.
//!
//! What it guarantees: each file is made small and compressed once, and has an `ETag` of its contents.
//!
//! What it must not do: read the disk, or serve anything that depends on a tenant.
//!
//! Where to start reading: `Assets` in this file, then `minify`.

mod minify;

use std::{collections::HashMap, sync::OnceLock};

use sha2::{Digest as _, Sha256};
use warp::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    path::FullPath,
    reply::Response,
};

use super::{
    RouteRequest,
    error::{Code, Problem},
    preference::preferences,
};

/// The page itself, with its placeholders: answered by [`super::page`].
pub const PAGE: &str = include_str!("../../static/index.html");

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../static/", $name)))),+]
    };
}

/// The files that `/static/` serves: the folder as it was when this program was built.
const FILES: &[(&str, &str)] = files![
    "api.d.ts",
    "icon.svg",
    "page.css",
    "page.js",
    "texts.ar.js",
    "texts.en.js",
    "texts.es.js",
    "texts.hi.js",
    "texts.id.js",
    "texts.pt.js",
    "whatsapp-link.css",
];

/// The modules of the component, each after those it imports, served as one: a page that embeds it fetches a single
/// script, and never a mixture of two versions while instances are being replaced.
const COMPONENT: &str = "whatsapp-link.js";
const MODULES: &[(&str, &str)] = files!["model.js", "views.js", "scan.js", "stream.js", "whatsapp-link.js"];

/// The files with what is computed from them once.
pub struct Assets(HashMap<&'static str, File>);

struct File {
    kind: &'static str,
    plain: Form,
    /// Made for the first request: most runs of the tests end before one comes.
    gzip: OnceLock<Form>,
    brotli: OnceLock<Form>,
}

/// The compression of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    /// A tenth smaller than gzip. Browsers take it over https.
    Brotli,
}

impl Coding {
    fn name(self) -> Option<HeaderValue> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some(HeaderValue::from_static("gzip")),
            Self::Brotli => Some(HeaderValue::from_static("br")),
        }
    }
}

/// One encoding of a file. Each has a tag of its own, since a cache must not answer with the wrong one.
struct Form {
    bytes: Vec<u8>,
    etag: HeaderValue,
}

impl Assets {
    pub fn load() -> Self {
        let component = (COMPONENT, minify::join(MODULES));
        let files = FILES.iter().map(|(name, text)| (*name, served(name, text))).chain([component]);
        Self(files.map(|(name, text)| (name, File::new(name, &text))).collect())
    }
}

impl File {
    fn new(name: &str, text: &str) -> Self {
        let plain = Form::new(text.as_bytes().to_vec());
        Self { kind: kind(name), plain, gzip: OnceLock::new(), brotli: OnceLock::new() }
    }

    fn form(&self, coding: Coding) -> &Form {
        match coding {
            Coding::Identity => &self.plain,
            Coding::Gzip => self.gzip.get_or_init(|| Form::new(minify::gzip(&self.plain.bytes))),
            Coding::Brotli => self.brotli.get_or_init(|| Form::new(minify::brotli(&self.plain.bytes))),
        }
    }
}

impl Form {
    fn new(bytes: Vec<u8>) -> Self {
        use std::fmt::Write as _;
        let mut etag = String::from("\"");
        for byte in &Sha256::digest(&bytes)[..12] {
            write!(etag, "{byte:02x}").expect("writing into a string cannot fail");
        }
        etag.push('"');
        let etag = HeaderValue::try_from(etag).expect("quoted hexadecimal digits can stand in a header");
        Self { bytes, etag }
    }
}

/// People read the types, with what they say beside each field.
fn served(name: &str, text: &str) -> String {
    if name.rsplit('.').next() == Some("ts") { text.to_owned() } else { minify::without_comments(text) }
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        // For tools and people: no browser runs it.
        Some("ts") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// Public, and for pages of any origin: a SaaS page on another subdomain embeds the component from here.
pub fn asset(request: RouteRequest, path: FullPath) -> Result<Response, Problem> {
    let name = path.as_str().trim_start_matches("/static/");
    let file = request.context.assets.0.get(name).ok_or_else(|| Problem::new(Code::NotFound, "no such file"))?;
    let coding = coding(&request.headers);
    let form = file.form(coding);
    let mut answer = if is_known(&request.headers, &form.etag) {
        let mut answer = Response::new("".into());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        Response::new(form.bytes.clone().into())
    };
    let headers = answer.headers_mut();
    headers.insert(header::ETAG, form.etag.clone());
    if let Some(name) = coding.name() {
        headers.insert(header::CONTENT_ENCODING, name);
    }
    for (name, value) in [
        (header::CONTENT_TYPE, file.kind),
        // Browsers revalidate each time, which costs one short answer: a new version is in use at once without new
        // names.
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "Accept-Encoding"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    Ok(answer)
}

/// The smallest form that the client names. A client that sends only `*`, or weights of zero, gets the plain form.
fn coding(headers: &HeaderMap) -> Coding {
    let takes = |name: &str| {
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut codings = lines.flat_map(preferences);
        codings
            .any(|coding| coding.value.eq_ignore_ascii_case(name) && coding.weight.is_some_and(|weight| weight > 0.0))
    };
    if takes("br") {
        Coding::Brotli
    } else if takes("gzip") {
        Coding::Gzip
    } else {
        Coding::Identity
    }
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
            FILES.iter().chain(MODULES).map(|(name, _)| *name).chain(["index.html"]).map(String::from).collect();
        assert_eq!(there, served);
        assert!(FILES.iter().all(|(name, _)| kind(name) != "application/octet-stream"));
    }

    /// What a page fetches for one language over https, each file as its own answer.
    #[test]
    fn component_with_style_and_one_language_is_below_12_kb() {
        let assets = Assets::load();
        let size = |name: &str| assets.0[name].form(Coding::Brotli).bytes.len();
        let languages: Vec<_> = FILES.iter().map(|(name, _)| *name).filter(|name| name.starts_with("texts.")).collect();
        assert_eq!(languages.len(), 6);
        for language in languages {
            let parts = [COMPONENT, "whatsapp-link.css", language].map(|name| (name, size(name)));
            let total: usize = parts.iter().map(|(_, size)| size).sum();
            println!("{total} bytes: {parts:?}");
            assert!(total < 12_000, "{total} bytes: {parts:?}");
        }
    }

    #[test]
    fn compression_is_used_only_if_accept_encoding_names_it() {
        for (written, expected) in [
            ("gzip, deflate, br, zstd", Coding::Brotli),
            ("gzip, deflate", Coding::Gzip),
            ("br;q=0, GZIP;q=0.5", Coding::Gzip),
            ("BR;q=0.1, gzip", Coding::Brotli),
            ("gzip;q=0", Coding::Identity),
            ("gzip; q=0.0", Coding::Identity),
            ("*", Coding::Identity),
            ("identity", Coding::Identity),
            ("", Coding::Identity),
            ("gzip;q=x", Coding::Identity),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(written))]);
            assert_eq!(coding(&headers), expected, "{written:?}");
        }
    }
}
