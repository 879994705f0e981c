//! Which multipart bodies are taken, however they are cut.

use std::convert::Infallible;

use axum::body::Body;
use futures::stream;

use super::*;

#[test]
fn a_boundary_may_be_quoted_with_either_mark() {
    let cases = [
        ("multipart/related; boundary=abc", Some("abc")),
        ("multipart/related; boundary=\"a b=c\"", Some("a b=c")),
        ("multipart/related; charset=x; boundary='abc'", Some("abc")),
        ("multipart/form-data; boundary=abc", None),
        ("multipart/related", None),
        ("multipart/related; boundary=", None),
    ];
    for (header, expected) in cases {
        assert_eq!(boundary(header), expected, "{header}");
    }
}

/// All parts of a body that arrives in pieces of so many bytes.
async fn parts(body: &str, piece: usize) -> Result<Vec<(usize, String)>, Error> {
    let pieces: Vec<_> = body.as_bytes().chunks(piece).map(Bytes::copy_from_slice).collect();
    let pieces = stream::iter(pieces).map(Ok::<_, Infallible>);
    let mut incoming = Incoming::new(Body::from_stream(pieces));
    let mut multipart = Multipart::new(&mut incoming, "b").await?;
    let mut parts = Vec::new();
    while let Some(headers) = multipart.next_part().await? {
        let content = multipart.read_part(1000).await?;
        parts.push((headers.len(), String::from_utf8(content.to_vec()).unwrap()));
    }
    Ok(parts)
}

use futures::StreamExt as _;

#[tokio::test]
async fn parts_are_the_same_however_the_body_arrives() {
    let body =
        "--b\r\nA: 1\r\nB: 2\r\n\r\none\r\n--\r\n-b\r\n--b\r\n\r\n\r\n--b\r\n\r\nlast\r\n--b--\r\n";
    let expected = [(2, "one\r\n--\r\n-b"), (0, ""), (0, "last")];
    let expected: Vec<_> = expected.map(|(n, text)| (n, text.to_owned())).into();
    for piece in 1..body.len() {
        assert_eq!(parts(body, piece).await.unwrap(), expected, "pieces of {piece}");
        let unix = body.replace("\r\n", "\n");
        let parts = parts(&unix, piece).await.unwrap();
        assert_eq!(parts[2], expected[2], "pieces of {piece}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_refused() {
    for body in
        ["", "--c\r\n\r\n", "--b", "--b\r\nA: 1", "--b\r\n\r\none", "--b\r\nA\r\n\r\none\r\n--b--"]
    {
        assert!(parts(body, 3).await.is_err(), "{body:?}");
    }
}
