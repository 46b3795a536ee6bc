//! The page on the admin doors: masters, seats, queue and compile latency, live, for people.
//!
//! Read-only: beside each master stands the command to copy. Every file of it is in the program, and its
//! Content-Security-Policy lets it load nothing from anywhere else. What it shows is `/v1/overview`; it needs no more than a
//! door that answers that.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Scripts and styles of the door's own, answers of the door's own, and nothing else; nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const ICON: &str = "image/svg+xml";

/// Every file: where it is, what it is, and what is in it.
const FILES: [(&str, &str, &str); 6] = [
    ("/", HTML, include_str!("page.html")),
    ("/page/page.js", SCRIPT, include_str!("page.js")),
    ("/page/page.css", STYLE, include_str!("page.css")),
    ("/page/icon.svg", ICON, include_str!("icon.svg")),
    ("/page/uplot.js", SCRIPT, include_str!("vendor/uplot.js")),
    ("/page/uplot.css", STYLE, include_str!("vendor/uplot.css")),
];

/// The page and its files.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |routes, (path, kind, text)| {
        routes.route(path, get(async move || file(kind, text)))
    })
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // A door that was upgraded must not be looked at with the page of the one before.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_that_is_not_in_the_program() {
        let (_, _, html) = FILES[0];
        let links = html.split(['"']).filter(|text| text.starts_with('/') || text.contains("://"));
        for link in links {
            let served = FILES.iter().any(|(path, ..)| *path == link);
            let answered = ["/metrics", "/v1/overview", "/v1/openapi.json"].contains(&link);
            assert!(served || answered, "{link}");
        }
        for (path, kind, text) in
            FILES.iter().filter(|(path, ..)| path.starts_with("/page/page") || *path == "/")
        {
            assert!(!text.contains("://"), "{path} names another place");
            assert!(!text.contains("innerHTML") && !text.contains("eval("), "{path}");
            assert!(
                *kind != HTML
                    || (!text.contains("<style") && !text.contains("style=") && !text.contains("onclick"))
            );
        }
    }
}
