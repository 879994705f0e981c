//! Between Google's messages and the core's types.

use googleapis_tonic_google_storage_v2::google::storage::v2 as proto;
use jiff::Timestamp;

use crate::storage::error::Error;
use crate::storage::object::{Attributes, Bucket, Object};
use crate::storage::store::Target;

const BUCKETS: &str = "projects/_/buckets/";

/// The preconditions of a request; the messages share field names but no type.
macro_rules! preconditions {
    ($request:expr) => {
        crate::storage::precondition::Preconditions {
            generation_is: $request.if_generation_match,
            generation_is_not: $request.if_generation_not_match,
            metageneration_is: $request.if_metageneration_match,
            metageneration_is_not: $request.if_metageneration_not_match,
            is_new: false,
        }
    };
}
pub(super) use preconditions;

/// The bucket's own name in `projects/_/buckets/NAME`.
pub(super) fn bucket_id(name: &str) -> Result<&str, Error> {
    name.strip_prefix(BUCKETS).ok_or_else(|| {
        Error::invalid(format!("The bucket name must begin with {BUCKETS}: '{name}'."))
    })
}

/// Generation 0 is the live one, as in every message without a value.
pub(super) fn target(bucket: &str, name: &str, generation: i64) -> Result<Target, Error> {
    Ok(Target {
        generation: (generation != 0).then_some(generation),
        ..Target::live(bucket_id(bucket)?, name)
    })
}

/// What an owner may choose of an object. Empty texts are absent ones.
pub(super) fn attributes(object: &proto::Object) -> Result<Attributes, Error> {
    let text = |it: &String| (!it.is_empty()).then(|| it.clone());
    Ok(Attributes {
        content_type: text(&object.content_type),
        content_encoding: text(&object.content_encoding),
        content_disposition: text(&object.content_disposition),
        content_language: text(&object.content_language),
        cache_control: text(&object.cache_control),
        custom_time: object.custom_time.map(parse_time).transpose()?,
        metadata: object.metadata.clone().into_iter().collect(),
    })
}

/// Takes over the fields that the mask names, or all for `*`.
pub(super) fn update(
    attributes: &mut Attributes,
    new: &Attributes,
    mask: &[String],
) -> Result<(), Error> {
    if mask.is_empty() {
        return Err(Error::invalid("The update_mask is required."));
    }
    for path in mask {
        match path.as_str() {
            "*" => *attributes = new.clone(),
            "content_type" => attributes.content_type.clone_from(&new.content_type),
            "content_encoding" => attributes.content_encoding.clone_from(&new.content_encoding),
            "content_disposition" => {
                attributes.content_disposition.clone_from(&new.content_disposition);
            }
            "content_language" => attributes.content_language.clone_from(&new.content_language),
            "cache_control" => attributes.cache_control.clone_from(&new.cache_control),
            "custom_time" => attributes.custom_time = new.custom_time,
            "metadata" => attributes.metadata.clone_from(&new.metadata),
            path => update_entry(attributes, new, path)?,
        }
    }
    Ok(())
}

/// `metadata.KEY` sets one entry, or removes it when the new object has none.
fn update_entry(attributes: &mut Attributes, new: &Attributes, path: &str) -> Result<(), Error> {
    let key = path.strip_prefix("metadata.");
    let key = key.ok_or_else(|| Error::invalid(format!("'{path}' cannot be updated.")))?;
    match new.metadata.get(key) {
        Some(value) => attributes.metadata.insert(key.to_owned(), value.clone()),
        None => attributes.metadata.remove(key),
    };
    Ok(())
}

impl From<Bucket> for proto::Bucket {
    fn from(bucket: Bucket) -> Self {
        Self {
            name: format!("{BUCKETS}{}", bucket.name),
            bucket_id: bucket.name,
            etag: "CAE=".to_owned(),
            project: "projects/0".to_owned(),
            metageneration: 1,
            location: "US".to_owned(),
            location_type: "multi-region".to_owned(),
            storage_class: "STANDARD".to_owned(),
            create_time: Some(time(bucket.created)),
            update_time: Some(time(bucket.created)),
            ..Self::default()
        }
    }
}

impl From<Object> for proto::Object {
    fn from(object: Object) -> Self {
        let created = Some(time(object.created));
        let attributes = &object.attributes;
        Self {
            etag: object.etag(),
            content_type: attributes.content_type().to_owned(),
            size: i64::try_from(object.size).expect("objects are bounded"),
            checksums: Some(proto::ObjectChecksums {
                crc32c: Some(object.checksums.crc32c),
                md5_hash: object.checksums.md5.to_vec().into(),
            }),
            name: object.name,
            bucket: format!("{BUCKETS}{}", object.bucket),
            generation: object.generation,
            metageneration: object.metageneration,
            storage_class: "STANDARD".to_owned(),
            create_time: created,
            finalize_time: created,
            update_storage_class_time: created,
            update_time: Some(time(object.updated)),
            content_encoding: object.attributes.content_encoding.unwrap_or_default(),
            content_disposition: object.attributes.content_disposition.unwrap_or_default(),
            content_language: object.attributes.content_language.unwrap_or_default(),
            cache_control: object.attributes.cache_control.unwrap_or_default(),
            custom_time: object.attributes.custom_time.map(time),
            metadata: object.attributes.metadata.into_iter().collect(),
            ..Self::default()
        }
    }
}

fn time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

fn parse_time(time: prost_types::Timestamp) -> Result<Timestamp, Error> {
    Timestamp::new(time.seconds, time.nanos)
        .map_err(|error| Error::invalid(format!("Invalid custom_time: {error}.")))
}
