//! Buckets and objects in the JSON API's form.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::call::Call;
use crate::storage::checksum::Declared;
use crate::storage::error::Error;
use crate::storage::object::{Attributes, Bucket, Object};

pub(super) fn bucket(bucket: &Bucket, call: &Call) -> Value {
    let Bucket { name, created } = bucket;
    json!({
        "kind": "storage#bucket",
        "id": name,
        "name": name,
        "selfLink": format!("{}/storage/v1/b/{name}", call.base),
        "projectNumber": "0",
        "metageneration": "1",
        "location": "US",
        "locationType": "multi-region",
        "storageClass": "STANDARD",
        "etag": "CAE=",
        "timeCreated": time(*created),
        "updated": time(*created),
    })
}

pub(super) fn object(object: &Object, call: &Call) -> Value {
    let Object { bucket, name, generation, .. } = object;
    let path = format!("storage/v1/b/{bucket}/o/{}", percent_encode(name));
    let base = &call.base;
    let created = time(object.created);
    let mut resource = json!({
        "kind": "storage#object",
        "id": format!("{bucket}/{name}/{generation}"),
        "selfLink": format!("{base}/{path}"),
        "mediaLink": format!("{base}/download/{path}?generation={generation}&alt=media"),
        "name": name,
        "bucket": bucket,
        "generation": generation.to_string(),
        "metageneration": object.metageneration.to_string(),
        "storageClass": "STANDARD",
        "size": object.size.to_string(),
        "crc32c": object.checksums.crc32c_base64(),
        "md5Hash": object.checksums.md5_base64(),
        "etag": object.etag(),
        "timeCreated": created,
        "updated": time(object.updated),
        "timeStorageClassUpdated": created,
        "timeFinalized": created,
        "contentType": object.attributes.content_type(),
    });
    let attributes = &object.attributes;
    let optional = [
        ("contentEncoding", attributes.content_encoding.clone()),
        ("contentDisposition", attributes.content_disposition.clone()),
        ("contentLanguage", attributes.content_language.clone()),
        ("cacheControl", attributes.cache_control.clone()),
        ("customTime", attributes.custom_time.map(time)),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            resource[field] = json!(value);
        }
    }
    if !attributes.metadata.is_empty() {
        resource["metadata"] = json!(attributes.metadata);
    }
    resource
}

/// Applies a patch as the JSON API means it: `null` clears, what is not
/// mentioned stays, what cannot be chosen is ignored.
pub(super) fn merge(attributes: &mut Attributes, patch: &Map<String, Value>) -> Result<(), Error> {
    for (field, value) in patch {
        let slot = match field.as_str() {
            "contentType" => &mut attributes.content_type,
            "contentEncoding" => &mut attributes.content_encoding,
            "contentDisposition" => &mut attributes.content_disposition,
            "contentLanguage" => &mut attributes.content_language,
            "cacheControl" => &mut attributes.cache_control,
            "customTime" => {
                attributes.custom_time = text(field, value)?.map(parse_time).transpose()?;
                continue;
            }
            "metadata" => {
                merge_metadata(attributes, value)?;
                continue;
            }
            _ => continue,
        };
        *slot = text(field, value)?.map(str::to_owned);
    }
    Ok(())
}

fn merge_metadata(attributes: &mut Attributes, value: &Value) -> Result<(), Error> {
    match value {
        Value::Null => attributes.metadata.clear(),
        Value::Object(entries) => {
            for (key, value) in entries {
                match text(key, value)? {
                    Some(value) => attributes.metadata.insert(key.clone(), value.to_owned()),
                    None => attributes.metadata.remove(key),
                };
            }
        }
        _ => return Err(Error::invalid("Invalid value for metadata.")),
    }
    Ok(())
}

/// The checksums that an upload's metadata declares.
pub(super) fn declare(declared: &mut Declared, metadata: &Map<String, Value>) -> Result<(), Error> {
    if let Some(crc32c) = metadata.get("crc32c").and_then(Value::as_str) {
        declared.set_crc32c(crc32c)?;
    }
    if let Some(md5) = metadata.get("md5Hash").and_then(Value::as_str) {
        declared.set_md5(md5)?;
    }
    Ok(())
}

fn text<'a>(field: &str, value: &'a Value) -> Result<Option<&'a str>, Error> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Error::invalid(format!("Invalid value for {field}: {value}."))),
    }
}

fn parse_time(text: &str) -> Result<Timestamp, Error> {
    text.parse().map_err(|_| Error::invalid(format!("Invalid value for customTime: {text}.")))
}

fn time(time: Timestamp) -> String {
    format!("{time:.3}")
}

fn percent_encode(name: &str) -> String {
    name.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes everything");
        }
        encoded
    })
}
