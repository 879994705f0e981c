//! Cloud Storage: what each method needs, over JSON and over gRPC.

use googleapis_tonic_google_storage_v2::google::storage::v2 as proto;

use super::*;

const OBJECT: &str = "/storage/v1/b/bucket/o/there";
const UPLOAD: &str = "/upload/storage/v1/b/bucket/o";
const GET: &[&str] = &["storage.objects.get", "storage.objects.list"];
const CREATE: &[&str] = &["storage.objects.create"];
const REPLACE: &[&str] = &["storage.objects.create", "storage.objects.delete"];
const UPDATE: &[&str] = &["storage.objects.get", "storage.objects.update"];
const COPY_OVER: &[&str] =
    &["storage.objects.create", "storage.objects.delete", "storage.objects.get"];
const COPY: &[&str] = &["storage.objects.create", "storage.objects.get"];

fn at(method: &'static str, path: &str, body: Value, needs: &'static [&'static str]) -> Op {
    rest(Service::Storage, method, path, body, needs)
}

fn rpc(method: &str, message: &impl prost::Message, needs: &'static [&'static str]) -> Op {
    grpc(Service::Storage, &format!("/google.storage.v2.Storage/{method}"), message, needs)
}

fn multipart(name: &str, needs: &'static [&'static str]) -> Op {
    let mut op = at("POST", &format!("{UPLOAD}?uploadType=multipart"), Value::Null, needs);
    op.headers = vec![("content-type", "multipart/related; boundary=b".to_owned())];
    let part = |kind: &str, text: &str| format!("--b\r\ncontent-type: {kind}\r\n\r\n{text}\r\n");
    let metadata = part("application/json", &json!({ "name": name }).to_string());
    op.body = format!("{metadata}{}--b--\r\n", part("text/plain", "text")).into_bytes();
    op
}

#[tokio::test]
async fn methods_of_the_json_api_need_what_is_documented() {
    Yard::check(|| {
        let media = format!("{UPLOAD}?uploadType=media&name");
        let copy = format!("{OBJECT}/copyTo/b/bucket/o");
        vec![
            at("GET", "/storage/v1/b?project=demo-project", Value::Null, &["storage.buckets.list"]),
            at(
                "POST",
                "/storage/v1/b?project=demo-project",
                json!({"name": "new-bucket"}),
                &["storage.buckets.create"],
            ),
            at("GET", "/storage/v1/b/bucket", Value::Null, &["storage.buckets.get"]),
            at("GET", "/storage/v1/b/bucket/o", Value::Null, &["storage.objects.list"]),
            at("GET", OBJECT, Value::Null, &["storage.objects.get"]),
            at("GET", &format!("{OBJECT}?alt=media"), Value::Null, &["storage.objects.get"]),
            at(
                "GET",
                &format!("/download{OBJECT}?alt=media"),
                Value::Null,
                &["storage.objects.get"],
            ),
            at("PATCH", OBJECT, json!({"metadata": {"a": "b"}}), UPDATE),
            at("PUT", OBJECT, json!({"metadata": {"a": "b"}}), UPDATE),
            at("DELETE", OBJECT, Value::Null, &["storage.objects.delete"]),
            at("POST", &format!("{copy}/new"), json!({}), COPY),
            at("POST", &format!("{OBJECT}/rewriteTo/b/bucket/o/new"), json!({}), COPY),
            at("POST", &format!("{copy}/there"), json!({}), COPY_OVER),
            at("POST", &format!("{media}=new"), json!("text"), CREATE),
            at("POST", &format!("{media}=there"), json!("text"), REPLACE),
            at("POST", &format!("{UPLOAD}?uploadType=resumable&name=new"), json!({}), CREATE),
            at("POST", &format!("{UPLOAD}?uploadType=resumable&name=there"), json!({}), REPLACE),
            at(
                "POST",
                &format!("/resumable{UPLOAD}?uploadType=resumable"),
                json!({"name": "new"}),
                CREATE,
            ),
            multipart("new", CREATE),
            multipart("there", REPLACE),
            at("GET", "/storage/v1/b/bucket/iam", Value::Null, &["storage.buckets.getIamPolicy"]),
            at(
                "PUT",
                "/storage/v1/b/bucket/iam",
                json!({"bindings": []}),
                &["storage.buckets.setIamPolicy"],
            ),
        ]
    })
    .await;
}

#[tokio::test]
async fn methods_over_grpc_need_the_same() {
    Yard::check(|| {
        let bucket = || "projects/_/buckets/bucket".to_owned();
        let project = || "projects/demo-project".to_owned();
        let there = || "there".to_owned();
        let new = proto::CreateBucketRequest {
            parent: "projects/_".to_owned(),
            bucket_id: "new-bucket".to_owned(),
            bucket: Some(proto::Bucket { project: project(), ..proto::Bucket::default() }),
            ..proto::CreateBucketRequest::default()
        };
        let object = proto::Object { bucket: bucket(), name: there(), ..proto::Object::default() };
        let update = proto::UpdateObjectRequest {
            object: Some(object),
            update_mask: Some(prost_types::FieldMask { paths: vec!["metadata".to_owned()] }),
            ..proto::UpdateObjectRequest::default()
        };
        let rewrite = |to: &str| proto::RewriteObjectRequest {
            source_bucket: bucket(),
            source_object: there(),
            destination_bucket: bucket(),
            destination_name: to.to_owned(),
            ..proto::RewriteObjectRequest::default()
        };
        let buckets =
            proto::ListBucketsRequest { parent: project(), ..proto::ListBucketsRequest::default() };
        let bucket_get =
            proto::GetBucketRequest { name: bucket(), ..proto::GetBucketRequest::default() };
        let list =
            proto::ListObjectsRequest { parent: bucket(), ..proto::ListObjectsRequest::default() };
        let get = proto::GetObjectRequest {
            bucket: bucket(),
            object: there(),
            ..proto::GetObjectRequest::default()
        };
        let delete = proto::DeleteObjectRequest {
            bucket: bucket(),
            object: there(),
            ..proto::DeleteObjectRequest::default()
        };
        vec![
            rpc("CreateBucket", &new, &["storage.buckets.create"]),
            rpc("GetBucket", &bucket_get, &["storage.buckets.get"]),
            rpc("ListBuckets", &buckets, &["storage.buckets.list"]),
            rpc("GetObject", &get, &["storage.objects.get"]),
            rpc("ListObjects", &list, &["storage.objects.list"]),
            rpc("UpdateObject", &update, UPDATE),
            rpc("RewriteObject", &rewrite("new"), COPY),
            rpc("RewriteObject", &rewrite("there"), COPY_OVER),
            rpc("DeleteObject", &delete, &["storage.objects.delete"]),
        ]
    })
    .await;
}

#[tokio::test]
async fn a_refusal_says_who_lacks_what() {
    let yard = Yard::new();
    let text = |who: &str| {
        format!(
            "{who} does not have storage.objects.get access to the Google Cloud Storage object. \
             Permission 'storage.objects.get' denied on resource (or it may not exist)."
        )
    };
    let op = at("GET", OBJECT, Value::Null, &[]);
    for (token, status, message, reason) in [
        (yard.token.as_str(), 403, text(ME), "forbidden"),
        ("", 401, text("Anonymous caller"), "required"),
        ("unknown", 401, "Invalid Credentials".to_owned(), "authError"),
    ] {
        let outcome = yard.send(&op, token).await;
        let error = &outcome.json()["error"];
        assert_eq!((outcome.status, &error["code"]), (status, &json!(status)), "{message}");
        assert_eq!(
            (&error["message"], &error["errors"][0]["reason"]),
            (&json!(message), &json!(reason))
        );
    }
    yard.iam.bind(&Resource::bucket("bucket"), "roles/storage.objectViewer", "allUsers").unwrap();
    assert_eq!(yard.send(&op, "").await.status, 200);
}

#[tokio::test]
async fn whoever_may_not_list_is_not_told_what_is_missing() {
    let yard = Yard::new();
    let json = at("GET", "/storage/v1/b/bucket/o/missing", Value::Null, &[]);
    let request = proto::GetObjectRequest {
        bucket: "projects/_/buckets/bucket".to_owned(),
        object: "missing".to_owned(),
        ..proto::GetObjectRequest::default()
    };
    let grpc = rpc("GetObject", &request, &[]);
    yard.hold(&["storage.objects.get"]);
    assert_eq!(yard.send(&json, &yard.token).await.status, 403);
    assert_eq!(yard.send(&grpc, &yard.token).await.grpc, Some(7));
    yard.hold(GET);
    assert_eq!(yard.send(&json, &yard.token).await.status, 404);
    assert_eq!(yard.send(&grpc, &yard.token).await.grpc, Some(5));
}

#[tokio::test]
async fn a_creator_makes_objects_and_replaces_none() {
    let yard = Yard::new();
    let member = format!("serviceAccount:{ME}");
    yard.iam.bind(&Resource::bucket("bucket"), "roles/storage.objectCreator", &member).unwrap();
    for (query, expected) in [
        ("name=new", 200),
        ("name=new", 403),
        ("name=new&ifGenerationMatch=0", 412),
        ("name=other&ifGenerationMatch=0", 200),
    ] {
        let op = at("POST", &format!("{UPLOAD}?uploadType=media&{query}"), json!("text"), &[]);
        assert_eq!(yard.send(&op, &yard.token).await.status, expected, "{query}");
    }
    // A session that was started while the object was not there.
    let start = at("POST", &format!("{UPLOAD}?uploadType=resumable&name=late"), json!({}), &[]);
    let session =
        yard.send(&start, &yard.token).await.headers["location"].to_str().unwrap().to_owned();
    let path = session.strip_prefix("http://localhost").unwrap();
    yard.storage.put("bucket", "late", "before").unwrap();
    let outcome = yard.send(&at("PUT", path, json!("after"), &[]), "").await;
    assert_eq!(outcome.status, 403, "{outcome:?}");
    assert_eq!(yard.storage.get("bucket", "late").unwrap().1, "before");
}

#[tokio::test]
async fn a_condition_keeps_a_binding_to_a_prefix() {
    let yard = Yard::new();
    let member = format!("serviceAccount:{ME}");
    let condition = "resource.type == 'storage.googleapis.com/Object' && \
        resource.name.startsWith('projects/_/buckets/bucket/objects/runs/')";
    yard.iam
        .bind_if(&Resource::bucket("bucket"), "roles/storage.objectUser", &member, condition)
        .unwrap();
    let media = |name: &str| {
        at("POST", &format!("{UPLOAD}?uploadType=media&name={name}"), json!("text"), &[])
    };
    for (op, expected) in [
        (media("runs/1"), 200),
        (media("other"), 403),
        (multipart("runs/2", &[]), 200),
        (multipart("other", &[]), 403),
        (at("GET", "/storage/v1/b/bucket/o/runs%2F1", Value::Null, &[]), 200),
        (at("GET", OBJECT, Value::Null, &[]), 403),
        (at("GET", "/storage/v1/b/bucket/o", Value::Null, &[]), 403),
    ] {
        assert_eq!(yard.send(&op, &yard.token).await.status, expected, "{} {}", op.method, op.path);
    }
    assert!(
        yard.iam
            .bind_if(&Resource::bucket("bucket"), "roles/storage.objectUser", &member, "a.")
            .is_err()
    );
}

#[tokio::test]
async fn a_buckets_policy_is_read_tested_and_changed() {
    let yard = Yard::new();
    yard.hold(&["storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy"]);
    let path = "/storage/v1/b/bucket/iam";
    let send = async |method, path: &str, body: Value| {
        yard.send(&at(method, path, body, &[]), &yard.token).await
    };
    let mut policy = send("GET", path, Value::Null).await.json();
    assert_eq!(
        [&policy["kind"], &policy["resourceId"]],
        ["storage#policy", "projects/_/buckets/bucket"]
    );
    let member = format!("serviceAccount:{ME}");
    policy["bindings"] = json!([{"role": "roles/storage.objectViewer", "members": [member]}]);
    let changed = send("PUT", path, policy.clone()).await;
    assert_eq!((changed.status, &changed.json()["bindings"]), (200, &policy["bindings"]));
    assert_eq!(send("PUT", path, policy).await.status, 409);
    let test = format!(
        "{path}/testPermissions?permissions=storage.objects.get&permissions=storage.objects.create"
    );
    let held = send("GET", &test, Value::Null).await.json();
    let expected = json!({"kind": "storage#testIamPermissionsResponse", "permissions": ["storage.objects.get"]});
    assert_eq!(held, expected);
    assert_eq!(send("GET", &path.replace("bucket", "none"), Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_bucket_belongs_to_the_project_that_it_was_placed_in() {
    let yard = Yard::new();
    yard.hold(GET);
    let op = at("GET", OBJECT, Value::Null, &[]);
    assert_eq!(yard.send(&op, &yard.token).await.status, 200);
    yard.iam.place_bucket("bucket", "another");
    assert_eq!(yard.send(&op, &yard.token).await.status, 403);
}
