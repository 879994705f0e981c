//! What Cloud Storage's methods need, as its pages on IAM permissions list them.

use axum::http::Method;
use googleapis_tonic_google_storage_v2::google::storage::v2 as proto;

use super::{Asked, Demand, one};
use crate::iam::caller::Caller;
use crate::iam::grpc::is_policy_method;
use crate::iam::refusal::Refusal;
use crate::iam::resource::Resource;

const GET: &str = "storage.objects.get";
const LIST: &str = "storage.objects.list";

pub(super) fn demand(asked: &Asked<'_>) -> Option<Demand> {
    match asked.route {
        "/google.storage.v2.Storage/{method}" => grpc(asked, asked.path("method")?),
        route => json(asked, route),
    }
}

fn json(asked: &Asked<'_>, route: &str) -> Option<Demand> {
    let bucket = || asked.path("bucket").map(Resource::bucket);
    let object = || Some(object(asked.path("bucket")?, asked.path("object")?));
    let project = || asked.query.get("project").map(|it| Resource::project(it));
    match (asked.method, route) {
        (&Method::GET, "/storage/v1/b") => one("storage.buckets.list", project()),
        (&Method::POST, "/storage/v1/b") => one("storage.buckets.create", project()),
        (&Method::GET, "/storage/v1/b/{bucket}") => one("storage.buckets.get", bucket()),
        (&Method::GET, "/storage/v1/b/{bucket}/o") => one(LIST, bucket()),
        (
            &Method::GET,
            "/storage/v1/b/{bucket}/o/{object}" | "/download/storage/v1/b/{bucket}/o/{object}",
        ) => one(GET, object()),
        (&Method::DELETE, "/storage/v1/b/{bucket}/o/{object}") => {
            one("storage.objects.delete", object())
        }
        (&Method::PATCH | &Method::PUT, "/storage/v1/b/{bucket}/o/{object}") => update(object()),
        (
            &Method::POST,
            "/storage/v1/b/{bucket}/o/{object}/rewriteTo/b/{to_bucket}/o/{to_object}"
            | "/storage/v1/b/{bucket}/o/{object}/copyTo/b/{to_bucket}/o/{to_object}",
        ) => copy(object(), self::object(asked.path("to_bucket")?, asked.path("to_object")?)),
        // An upload tells the name of its object in its body, and a session was allowed when it
        // was started: its address is all that it takes to go on.
        (
            &Method::POST | &Method::PUT,
            "/upload/storage/v1/b/{bucket}/o" | "/resumable/upload/storage/v1/b/{bucket}/o",
        )
        | (&Method::GET | &Method::PUT, "/storage/v1/b/{bucket}/iam")
        | (&Method::GET, "/storage/v1/b/{bucket}/iam/testPermissions") => Some(Demand::Inside),
        _ => None,
    }
}

fn grpc(asked: &Asked<'_>, method: &str) -> Option<Demand> {
    let bucket = |name: &str| Some(Resource::bucket(bucket_id(name)?));
    let object = |bucket: &str, name: &str| Some(object(bucket_id(bucket)?, name));
    match method {
        "CreateBucket" => {
            let request = asked.message::<proto::CreateBucketRequest>()?;
            let project = request.bucket.map(|it| it.project).filter(|it| !it.is_empty());
            one(
                "storage.buckets.create",
                Some(Resource::Project(project.unwrap_or(request.parent))),
            )
        }
        "GetBucket" => {
            one("storage.buckets.get", bucket(&asked.message::<proto::GetBucketRequest>()?.name))
        }
        "ListBuckets" => {
            let project = asked.message::<proto::ListBucketsRequest>()?.parent;
            one("storage.buckets.list", Some(Resource::Project(project)))
        }
        "GetObject" => {
            let it = asked.message::<proto::GetObjectRequest>()?;
            one(GET, object(&it.bucket, &it.object))
        }
        "ListObjects" => one(LIST, bucket(&asked.message::<proto::ListObjectsRequest>()?.parent)),
        "UpdateObject" => {
            let it = asked.message::<proto::UpdateObjectRequest>()?.object?;
            update(object(&it.bucket, &it.name))
        }
        "DeleteObject" => {
            let it = asked.message::<proto::DeleteObjectRequest>()?;
            one("storage.objects.delete", object(&it.bucket, &it.object))
        }
        "RewriteObject" => {
            let it = asked.message::<proto::RewriteObjectRequest>()?;
            let to = object(&it.destination_bucket, &it.destination_name)?;
            copy(object(&it.source_bucket, &it.source_object), to)
        }
        method if is_policy_method(method) => Some(Demand::Inside),
        _ => None,
    }
}

fn update(on: Option<Resource>) -> Option<Demand> {
    let on = on?;
    Some(Demand::All(vec![(GET, on.clone()), ("storage.objects.update", on)]))
}

/// Whether it replaces an object, for which more is needed, the service alone knows.
fn copy(from: Option<Resource>, to: Resource) -> Option<Demand> {
    Some(Demand::All(vec![(GET, from?), ("storage.objects.create", to)]))
}

/// Whoever may not list a bucket is not told what is missing in it: the refusal instead.
pub(super) fn hidden(caller: &Caller, needs: &[(&'static str, Resource)]) -> Option<Refusal> {
    let [(GET, on @ Resource::Object { bucket, .. })] = needs else { return None };
    caller.check(LIST, &Resource::bucket(bucket)).err().map(|_| caller.denied(on.api(), GET, on))
}

fn object(bucket: &str, name: &str) -> Resource {
    Resource::Object { bucket: bucket.to_owned(), name: name.to_owned() }
}

fn bucket_id(name: &str) -> Option<&str> {
    name.strip_prefix("projects/_/buckets/")
}
