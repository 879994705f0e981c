//! `google.storage.v2` over gRPC: the calls on metadata that the Rust client
//! sends there. Content travels over the JSON API.

mod convert;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use googleapis_tonic_google_storage_v2::google::storage::v2::{
    self as proto, CreateBucketRequest, DeleteObjectRequest, GetBucketRequest, GetObjectRequest,
    ListBucketsRequest, ListBucketsResponse, ListObjectsRequest, ListObjectsResponse,
    RewriteObjectRequest, RewriteResponse, UpdateObjectRequest,
};
use prost::Message;
use tonic::Status;
use tonic_prost::ProstCodec;
use tower::service_fn;

use self::convert::{attributes, bucket_id, preconditions, target, update};
use super::Storage;
use super::copy::Copy;
use super::error::Error;
use super::list::Listing;
use super::policy;
use super::precondition::Preconditions;
use super::replacing::Replacing;
use super::store::Target;
use crate::iam::{self, Caller};

pub(super) fn router() -> Router<Storage> {
    Router::new().route("/google.storage.v2.Storage/{method}", post(dispatch))
}

async fn dispatch(
    State(storage): State<Storage>,
    Path(method): Path<String>,
    request: Request,
) -> Response {
    match method.as_str() {
        "CreateBucket" => unary(storage, request, create_bucket).await,
        "GetBucket" => unary(storage, request, get_bucket).await,
        "ListBuckets" => unary(storage, request, list_buckets).await,
        "GetObject" => unary(storage, request, get_object).await,
        "ListObjects" => unary(storage, request, list_objects).await,
        "UpdateObject" => unary(storage, request, update_object).await,
        "DeleteObject" => unary(storage, request, delete_object).await,
        "RewriteObject" => {
            let caller = request.extensions().get::<Caller>().cloned();
            unary(storage, request, move |storage, it| rewrite_object(storage, caller.as_ref(), it))
                .await
        }
        method => {
            let caller = request.extensions().get::<Caller>().cloned();
            let decide = move |name: &str, call| {
                let bucket = bucket_id(name)?;
                Ok(policy::answer(&storage, bucket, caller.as_ref(), call)?)
            };
            iam::grpc::serve(method, request, decide).await
        }
    }
}

async fn unary<Q, A>(
    storage: Storage,
    request: Request,
    answer: impl Fn(&Storage, &Q) -> Result<A, Error> + Send + Sync + 'static,
) -> Response
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let service = service_fn(move |request: tonic::Request<Q>| {
        let answer = answer(&storage, request.get_ref());
        std::future::ready(answer.map(tonic::Response::new).map_err(Status::from))
    });
    let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
    grpc.unary(service, request).await.into_response()
}

fn create_bucket(storage: &Storage, it: &CreateBucketRequest) -> Result<proto::Bucket, Error> {
    Ok(storage.store().create_bucket(&it.bucket_id)?.into())
}

fn get_bucket(storage: &Storage, it: &GetBucketRequest) -> Result<proto::Bucket, Error> {
    Ok(storage.store().bucket(bucket_id(&it.name)?)?.into())
}

/// Every bucket is in every project, and all are on one page.
#[expect(clippy::unnecessary_wraps, reason = "the other calls can fail")]
fn list_buckets(storage: &Storage, it: &ListBucketsRequest) -> Result<ListBucketsResponse, Error> {
    let buckets = storage.store().buckets().into_iter();
    let buckets = buckets.filter(|bucket| bucket.name.starts_with(&it.prefix));
    Ok(ListBucketsResponse {
        buckets: buckets.map(Into::into).collect(),
        ..ListBucketsResponse::default()
    })
}

fn get_object(storage: &Storage, it: &GetObjectRequest) -> Result<proto::Object, Error> {
    let when = preconditions!(it);
    let from = target(&it.bucket, &it.object, it.generation)?;
    Ok(storage.store().stat(&from, &when)?.into())
}

fn list_objects(storage: &Storage, it: &ListObjectsRequest) -> Result<ListObjectsResponse, Error> {
    if !it.match_glob.is_empty() || !it.filter.is_empty() {
        let text = "match_glob and filter are not supported here.";
        return Err(Error::invalid(text));
    }
    let mut listing = Listing::new(&it.prefix);
    listing.delimiter.clone_from(&it.delimiter);
    listing.start.clone_from(&it.lexicographic_start);
    listing.end.clone_from(&it.lexicographic_end);
    listing.continue_after(&it.page_token)?;
    let items = usize::try_from(it.page_size);
    listing.limit(items.map_err(|_| Error::invalid("Invalid page_size."))?);
    let page = storage.store().list(bucket_id(&it.parent)?, &listing)?;
    Ok(ListObjectsResponse {
        objects: page.objects.into_iter().map(Into::into).collect(),
        prefixes: page.prefixes,
        next_page_token: page.next.unwrap_or_default(),
    })
}

fn update_object(storage: &Storage, it: &UpdateObjectRequest) -> Result<proto::Object, Error> {
    let when = preconditions!(it);
    let object = it.object.as_ref();
    let object = object.ok_or_else(|| Error::invalid("The object is required."))?;
    let mask = it.update_mask.as_ref().map(|it| it.paths.as_slice());
    let target = target(&object.bucket, &object.name, object.generation)?;
    let new = attributes(object)?;
    let store = storage.store();
    let object = store.update(&target, &when, |it| update(it, &new, mask.unwrap_or_default()))?;
    Ok(object.into())
}

fn delete_object(storage: &Storage, it: &DeleteObjectRequest) -> Result<(), Error> {
    let when = preconditions!(it);
    let target = target(&it.bucket, &it.object, it.generation)?;
    storage.store().delete(&target, &when)
}

fn rewrite_object(
    storage: &Storage,
    caller: Option<&Caller>,
    it: &RewriteObjectRequest,
) -> Result<RewriteResponse, Error> {
    let mut when = preconditions!(it);
    let only = Preconditions {
        generation_is: it.if_source_generation_match,
        generation_is_not: it.if_source_generation_not_match,
        metageneration_is: it.if_source_metageneration_match,
        metageneration_is_not: it.if_source_metageneration_not_match,
        is_new: false,
    };
    let from = target(&it.source_bucket, &it.source_object, it.source_generation)?;
    let to = Target::live(bucket_id(&it.destination_bucket)?, &*it.destination_name);
    let attributes = it.destination.as_ref().map(attributes).transpose()?;
    let replacing = Replacing::of(caller, &to.bucket, &to.name);
    replacing.add_to(&mut when);
    let copy = Copy { from, only, to, attributes, when };
    let rewritten = storage.rewrite(copy, &it.rewrite_token, it.max_bytes_rewritten_per_call);
    let rewritten = rewritten.map_err(|error| replacing.explain(error))?;
    let bytes = |bytes: u64| i64::try_from(bytes).expect("objects are bounded");
    Ok(RewriteResponse {
        total_bytes_rewritten: bytes(rewritten.bytes),
        object_size: bytes(rewritten.size),
        done: rewritten.object.is_some(),
        rewrite_token: rewritten.token,
        resource: rewritten.object.map(Into::into),
    })
}
