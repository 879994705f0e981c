//! The first message of a call over gRPC, read ahead of the service.

use std::time::Duration;

use axum::body::{Body, Bytes};
use bytes::BytesMut;
use futures::{StreamExt as _, stream};
use tokio::time::timeout;

use crate::iam::refusal::Refusal;

/// Bytes of a message, and how long it may take to arrive.
const MESSAGE_MAX: usize = 16 << 20;
const TIME_MAX: Duration = Duration::from_secs(30);
/// A flag and the length come before a message.
const HEAD: usize = 5;

/// The first message, and the body as if nobody had read it.
pub(super) async fn first_message(body: Body) -> Result<(Bytes, Body), Refusal> {
    let invalid = |why: &str| Refusal::Invalid(why.to_owned());
    let mut rest = body.into_data_stream();
    let mut read = BytesMut::new();
    let mut length = None;
    let reading = async {
        while length.is_none_or(|length| read.len() < HEAD + length) {
            let chunk = rest.next().await;
            let chunk = chunk.ok_or_else(|| invalid("The call has no message."))?;
            read.extend_from_slice(&chunk.map_err(|_| invalid("The call broke off."))?);
            if let (None, Some((head, _))) = (length, read.split_first_chunk::<HEAD>()) {
                let [flag, size @ ..] = *head;
                let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
                if flag != 0 || size > MESSAGE_MAX {
                    return Err(invalid("The message is compressed or too large."));
                }
                length = Some(size);
            }
        }
        Ok(())
    };
    timeout(TIME_MAX, reading).await.map_err(|_| invalid("The message did not arrive."))??;
    let read = read.freeze();
    let message = read.slice(HEAD..HEAD + length.unwrap_or_default());
    Ok((message, Body::from_stream(stream::once(async { Ok(read) }).chain(rest))))
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_is_read_again() {
        let text = b"\0\0\0\0\x03abc\0\0\0\0\x01d";
        for cut in 1..text.len() {
            let chunks = [&text[..cut], &text[cut..]].map(Ok::<_, std::io::Error>);
            let body = Body::from_stream(stream::iter(chunks));
            let (message, body) = first_message(body).await.unwrap();
            assert_eq!(message, "abc", "{cut}");
            assert_eq!(to_bytes(body, usize::MAX).await.unwrap(), &text[..], "{cut}");
        }
        for text in [&b""[..], b"\0\0\0", b"\0\0\0\0\x03ab", b"\x01\0\0\0\x03abc", b"\0\xff\0\0\0a"]
        {
            assert!(first_message(Body::from(text)).await.is_err(), "{text:?}");
        }
    }
}
