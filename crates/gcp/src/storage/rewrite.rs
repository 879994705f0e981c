//! Copies within Cloud Storage. One call moves a small object, or one that stays in its location
//! and class; of others each call moves a part, and its token tells the next where to go on.

use super::{Object, Source, Storage, object, resource};
use crate::call::{CALL_TIME_MAX, Call, bounded};
use crate::error::Error;

/// Each moves a gigabyte or so.
const CALLS_MAX: u32 = 10_000;

impl Storage {
    pub(super) fn rewrite<'a>(
        &'a self,
        from: Source<'a>,
        bucket: &'a str,
        name: &'a str,
    ) -> Call<'a, Object> {
        Box::pin(async move {
            let source = format!("gs://{}/{}", from.bucket, from.name);
            let doing = format!("copying {source} to gs://{bucket}/{name}");
            let mut token = String::new();
            for _ in 0..CALLS_MAX {
                let rewrite = self
                    .control
                    .rewrite_object()
                    .set_source_bucket(resource(from.bucket))
                    .set_source_object(from.name)
                    .set_if_source_generation_match(from.generation)
                    .set_destination_bucket(resource(bucket))
                    .set_destination_name(name)
                    .set_if_generation_match(0)
                    .set_rewrite_token(token);
                let answer = bounded(doing.clone(), CALL_TIME_MAX, rewrite.send()).await?;
                if answer.done {
                    let resource = answer.resource.map(object);
                    let none = || Error::corrupt(doing, "the answer does not describe the copy");
                    return resource.ok_or_else(none);
                }
                token = answer.rewrite_token;
            }
            Err(Error::corrupt(doing, format!("it is not done after {CALLS_MAX} calls")))
        })
    }
}
