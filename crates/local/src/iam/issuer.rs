//! Where an issuer publishes its keys. Only issuers on this machine are asked, over HTTP.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes of an answer, and how long it may take.
const ANSWER_MAX: u64 = 1 << 20;
const TIME_MAX: Duration = Duration::from_secs(5);

/// The keys of an issuer, by way of its discovery document.
pub(super) async fn keys(issuer: &str) -> io::Result<Vec<Value>> {
    let discovery = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let document = get(&discovery).await?;
    if document["issuer"] != issuer {
        return Err(io::Error::other("the document is another issuer's"));
    }
    let keys = document["jwks_uri"].as_str();
    let keys = get(keys.ok_or_else(|| io::Error::other("the document names no keys"))?).await?;
    keys_in(&keys)
}

/// The keys in a JWK set.
pub(super) fn keys_in(set: &Value) -> io::Result<Vec<Value>> {
    let keys = set["keys"].as_array();
    keys.cloned().ok_or_else(|| io::Error::other("this is no JWK set"))
}

async fn get(url: &str) -> io::Result<Value> {
    let refuse = || io::Error::other(format!("{url} is not on this machine"));
    let rest = url.strip_prefix("http://").ok_or_else(refuse)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    if !matches!(host, "127.0.0.1" | "localhost" | "[::1]") {
        return Err(refuse());
    }
    let address = if host == authority { format!("{host}:80") } else { authority.to_owned() };
    timeout(TIME_MAX, fetch(&address, authority, path)).await?
}

/// HTTP/1.0: the answer ends with the connection.
async fn fetch(address: &str, authority: &str, path: &str) -> io::Result<Value> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET /{path} HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.take(ANSWER_MAX).read_to_string(&mut answer).await?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("this is no answer"))?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other("it was not answered with 200"));
    }
    Ok(serde_json::from_str(body)?)
}
