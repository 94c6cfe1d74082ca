use warp::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    reply::Response,
};

use super::{RouteRequest, assets, identity, preference::preferences};

pub const PATH: &str = "/dashboard/settings/whatsapp";

/// A language of the page, which `static/texts.*.js` has the words of the card for.
#[derive(Debug, PartialEq, Eq)]
struct Language {
    tag: &'static str,
    /// Its name in the language itself.
    name: &'static str,
    direction: &'static str,
    title: &'static str,
    needs_javascript: &'static str,
}

const fn language([tag, name]: [&'static str; 2], title: &'static str, needs_javascript: &'static str) -> Language {
    Language { tag, name, direction: "ltr", title, needs_javascript }
}

/// The first one is the default.
const LANGUAGES: [Language; 6] = [
    language(
        ["id", "Bahasa Indonesia"],
        "Pengaturan WhatsApp",
        "Halaman ini memerlukan JavaScript untuk menampilkan QR code.",
    ),
    language(["en", "English"], "WhatsApp settings", "This page needs JavaScript to show the QR code."),
    language(
        ["pt", "Português"],
        "Configurações do WhatsApp",
        "Esta página precisa de JavaScript para mostrar o código QR.",
    ),
    language(
        ["es", "Español"],
        "Configuración de WhatsApp",
        "Esta página necesita JavaScript para mostrar el código QR.",
    ),
    language(["hi", "हिन्दी"], "WhatsApp सेटिंग", "QR कोड दिखाने के लिए इस पेज को JavaScript चाहिए।"),
    Language {
        direction: "rtl",
        ..language(["ar", "العربية"], "إعدادات WhatsApp", "تحتاج هذه الصفحة إلى JavaScript لعرض رمز QR.")
    },
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// Public: with a tenant's token it shows that tenant's name, and without a token nothing of any tenant.
pub async fn page(request: RouteRequest) -> Response {
    let name = identity::read_caller(&request).await.ok().and_then(|identity| identity.display_name);
    let login = request.services().settings.login_url.clone();
    let language = preferred(&request.headers);
    let html = assets::PAGE
        .replace("{{lang}}", language.tag)
        .replace("{{dir}}", language.direction)
        .replace("{{title}}", language.title)
        .replace("{{needs_javascript}}", language.needs_javascript)
        .replace("{{languages}}", &options(language))
        .replace("{{tenant_name}}", &escaped(&name.unwrap_or_default()))
        .replace("{{login_url}}", &escaped(&login.unwrap_or_default()));
    let mut answer = Response::new(html.into());
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not "no-referrer": with that browsers send `Origin: null`, which our own commands refuse.
        (header::REFERRER_POLICY, "same-origin"),
        // Not "no-store": with that browsers keep the page out of their back/forward cache.
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::VARY, "Accept-Language, Cookie"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

pub fn root() -> Response {
    let mut answer = Response::new("".into());
    *answer.status_mut() = StatusCode::FOUND;
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static(PATH));
    answer
}

/// The languages that a visitor can choose.
fn options(chosen: &Language) -> String {
    let option = |language: &Language| {
        let Language { tag, name, direction, title, .. } = language;
        let selected = if language == chosen { " selected" } else { "" };
        format!(
            "<option value=\"{tag}\" lang=\"{tag}\" dir=\"{direction}\" data-title=\"{title}\"{selected}>{name}</option>"
        )
    };
    LANGUAGES.iter().map(option).collect()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Without this, a value could contain another placeholder.
            '{' => out.push_str("&#123;"),
            c => out.push(c),
        }
    }
    out
}

/// Our language with the highest weight in `Accept-Language`; of equal ones the first.
fn preferred(headers: &HeaderMap) -> &'static Language {
    let written = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut best = (0.0, &LANGUAGES[0]);
    for range in preferences(written) {
        let (weight, primary) = (range.weight.unwrap_or(0.0), range.value.split('-').next().unwrap_or_default());
        let ours = LANGUAGES.iter().find(|language| language.tag.eq_ignore_ascii_case(primary));
        if let Some(language) = ours.filter(|_| weight > best.0) {
            best = (weight, language);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_with_highest_weight_wins_and_default_is_indonesian() {
        for (written, language) in [
            ("", "id"),
            ("de", "id"),
            ("en-US,en;q=0.9", "en"),
            ("en;q=0.5, id;q=0.8", "id"),
            ("EN", "en"),
            ("de, en;q=0.1", "en"),
            ("en;q=0", "id"),
            ("id-ID,id;q=0.9,en-US;q=0.8", "id"),
            (";;;,q=,=", "id"),
            ("pt-BR,pt;q=0.9,en;q=0.8", "pt"),
            ("es-419,en;q=0.5", "es"),
            ("hi-IN", "hi"),
            ("ar-SA,ar;q=0.9", "ar"),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(written))]);
            assert_eq!(preferred(&headers).tag, language, "{written:?}");
        }
    }

    #[test]
    fn tenant_name_is_escaped_in_its_attribute() {
        assert_eq!(
            escaped(r#""><script>'&{{login_url}}"#),
            "&quot;&gt;&lt;script&gt;&#39;&amp;&#123;&#123;login_url}}"
        );
    }
}
