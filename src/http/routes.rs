use std::{convert::Infallible, sync::Arc};

use warp::{
    Filter, Rejection,
    http::{HeaderMap, Method},
    path::FullPath,
    reply::{Reply, Response},
};

use super::{
    Context, RouteRequest, assets, body,
    connections::Visitor,
    documents,
    error::{Code, Problem},
    events, health, origin, page, passkey, qr, sessions, sign_in,
};

/// An address and the methods it takes. The same list answers 404, 405 and `OPTIONS`.
struct Endpoint {
    path: &'static str,
    methods: &'static [&'static str],
}

const READ: &[&str] = &["GET", "HEAD"];
const COMMAND: &[&str] = &["POST"];
/// Pages of the product that this one replaces send DELETE.
const UNLINK: &[&str] = &["POST", "DELETE"];

const CONNECT: Endpoint = Endpoint { path: "/api/whatsapp/connect", methods: COMMAND };
const DISCONNECT: Endpoint = Endpoint { path: "/api/whatsapp/disconnect", methods: UNLINK };
const PASSKEY: Endpoint = Endpoint { path: "/api/whatsapp/passkey", methods: COMMAND };
const STATUS: Endpoint = Endpoint { path: "/api/whatsapp/status", methods: READ };
const QR: Endpoint = Endpoint { path: "/api/whatsapp/qr", methods: READ };
const EVENTS: Endpoint = Endpoint { path: "/api/whatsapp/events", methods: READ };
const PAGE: Endpoint = Endpoint { path: page::PATH, methods: READ };
const ROOT: Endpoint = Endpoint { path: "/", methods: READ };
/// Any path below it.
const STATIC: Endpoint = Endpoint { path: "/static/", methods: READ };
/// Only GET: a link preview that sends HEAD must not use up the code.
const SIGN_IN: Endpoint = Endpoint { path: "/local/sign-in", methods: &["GET"] };
const HEALTHZ: Endpoint = Endpoint { path: "/healthz", methods: READ };
const READYZ: Endpoint = Endpoint { path: "/readyz", methods: READ };
const OPENAPI: Endpoint = Endpoint { path: "/openapi.json", methods: READ };
const ASYNCAPI: Endpoint = Endpoint { path: "/asyncapi.json", methods: READ };

const ENDPOINTS: &[&Endpoint] = &[
    &CONNECT,
    &DISCONNECT,
    &PASSKEY,
    &STATUS,
    &QR,
    &EVENTS,
    &PAGE,
    &ROOT,
    &STATIC,
    &SIGN_IN,
    &HEALTHZ,
    &READYZ,
    &OPENAPI,
    &ASYNCAPI,
];

/// Every route, a line each. Never rejects: the last line answers what no route matches.
pub fn routes(
    context: Arc<Context>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let request = request(Arc::clone(&context));
    let path = warp::path::full;
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();

    let connect =
        at(&CONNECT).and(request.clone()).and(body::limited()).then(sessions::connect).map(Reply::into_response);
    let disconnect =
        at(&DISCONNECT).and(request.clone()).and(body::limited()).then(sessions::disconnect).map(Reply::into_response);
    let passkey =
        at(&PASSKEY).and(request.clone()).and(body::limited()).then(passkey::passkey).map(Reply::into_response);
    let status = at(&STATUS).and(request.clone()).then(sessions::status).map(Reply::into_response);
    let qr = at(&QR).and(request.clone()).then(qr::qr).map(Reply::into_response);
    let events = at(&EVENTS).and(request.clone()).and(query).then(events::events).map(Reply::into_response);
    let page = at(&PAGE).and(request.clone()).then(page::page);
    let root = at(&ROOT).map(page::root);
    let asset = at(&STATIC).and(request.clone()).and(path()).map(assets::asset).map(Reply::into_response);
    let sign_in = at(&SIGN_IN).and(request.clone()).and(query).map(sign_in::sign_in).map(Reply::into_response);
    let healthz = at(&HEALTHZ).map(health::healthz);
    let readyz = at(&READYZ).and(request.clone()).map(health::readyz);
    let openapi = at(&OPENAPI).and(request.clone()).map(documents::openapi);
    let asyncapi = at(&ASYNCAPI).and(request.clone()).map(documents::asyncapi);
    let others = warp::method().and(path()).and(request).map(other);

    let api = events.or(status).unify().or(qr).unify().or(connect).unify().or(disconnect).unify().or(passkey).unify();
    let rest = page
        .or(root)
        .unify()
        .or(asset)
        .unify()
        .or(sign_in)
        .unify()
        .or(healthz)
        .unify()
        .or(readyz)
        .unify()
        .or(openapi)
        .unify()
        .or(asyncapi)
        .unify();
    let answer = api.or(rest).unify().or(others).unify();
    path().and(warp::header::headers_cloned()).and(answer).map(move |path: FullPath, headers: HeaderMap, answer| {
        if is_api(path.as_str()) { origin::expose(&context.services.settings, &headers, answer) } else { answer }
    })
}

fn is_api(path: &str) -> bool {
    path.starts_with("/api/")
}

impl Endpoint {
    fn is_at(&self, path: &str) -> bool {
        path == self.path || (self.path == STATIC.path && path.starts_with(self.path))
    }
}

fn at(endpoint: &'static Endpoint) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::method()
        .and(warp::path::full())
        .and_then(move |method: Method, path: FullPath| async move {
            let taken = endpoint.is_at(path.as_str()) && endpoint.methods.contains(&method.as_str());
            if taken { Ok(()) } else { Err(warp::reject()) }
        })
        .untuple_one()
}

fn request(context: Arc<Context>) -> impl Filter<Extract = (RouteRequest,), Error = Infallible> + Clone {
    warp::header::headers_cloned().and(warp::ext::optional::<Visitor>()).map(
        move |headers, visitor: Option<Visitor>| {
            let visitor = visitor.expect("the server says with each request which connection it came on");
            RouteRequest { headers, visitor, context: Arc::clone(&context) }
        },
    )
}

/// Answers what no route matches. A fallback rather than `recover`: it knows the address, and so which methods would
/// fit.
fn other(method: Method, path: FullPath, request: RouteRequest) -> Response {
    let path = path.as_str();
    let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.is_at(path)) else {
        return Problem::new(Code::NotFound, "no such address").into_response();
    };
    let methods = endpoint.methods.join(", ");
    if method == Method::OPTIONS && is_api(path) {
        return origin::preflight(&request.services().settings, &request.headers, &methods);
    }
    Problem::new(Code::MethodNotAllowed, format!("this address takes {methods}")).allow(methods).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::admin;

    /// Addresses for browsers alone, which `/openapi.json` leaves out.
    const PAGES: [&Endpoint; 4] = [&PAGE, &ROOT, &STATIC, &SIGN_IN];

    #[test]
    fn document_has_exactly_the_operations_that_exist() {
        let public = ENDPOINTS.iter().filter(|endpoint| PAGES.iter().all(|page| page.path != endpoint.path));
        let public = public.flat_map(|endpoint| endpoint.methods.iter().map(|method| (endpoint.path, *method)));
        // HEAD is answered wherever GET is.
        let known = public.filter(|(_, method)| *method != "HEAD").chain(admin::addresses());
        let known: BTreeSet<(&str, String)> = known.map(|(path, method)| (path, method.to_lowercase())).collect();
        let documented: BTreeSet<(&str, String)> =
            documents::OPERATIONS.iter().map(|operation| (operation.path, operation.method.to_owned())).collect();
        assert_eq!(documented, known, "on the left what the document has, on the right what is answered");
    }
}
