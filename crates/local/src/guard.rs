//! Keeps web pages out. The stack runs what it is told to, and a browser on
//! this machine reaches loopback for whatever page it shows.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// Refuses what a page's script sent, and what was sent to a name that merely leads here.
pub(crate) async fn refuse_pages(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let named = headers.get(HOST).map(|it| it.to_str().unwrap_or_default());
    let host = request.uri().authority().map(axum::http::uri::Authority::as_str).or(named);
    let from_page = headers.contains_key(ORIGIN)
        || headers.get("sec-fetch-site").is_some_and(|it| it != "none");
    if from_page || !host.is_some_and(is_loopback) {
        let why = "the local stack answers programs on this machine only, and no web page\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    next.run(request).await
}

fn is_loopback(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        // The colons of a bare IPv6 address are its own.
        if port.bytes().all(|it| it.is_ascii_digit()) { host } else { authority }
    });
    matches!(host, "127.0.0.1" | "localhost" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn no_web_page_reaches_the_stack() {
        let router =
            Router::new().route("/", post(|| async { "done" })).layer(from_fn(refuse_pages));
        let cases: [(&[(&str, &str)], StatusCode); 8] = [
            (&[("host", "127.0.0.1:8086")], StatusCode::OK),
            (&[("host", "localhost")], StatusCode::OK),
            (&[("host", "[::1]:8086")], StatusCode::OK),
            (&[("host", "evil.example:8086")], StatusCode::FORBIDDEN),
            (&[("host", "127.0.0.1.evil.example")], StatusCode::FORBIDDEN),
            (&[], StatusCode::FORBIDDEN),
            (&[("host", "localhost"), ("origin", "https://evil.example")], StatusCode::FORBIDDEN),
            (&[("host", "localhost"), ("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
        ];
        for (headers, expected) in cases {
            let mut request = Request::post("/").body(Body::empty()).unwrap();
            for (name, value) in headers {
                request.headers_mut().insert(*name, value.parse().unwrap());
            }
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), expected, "{headers:?}");
        }
    }
}
