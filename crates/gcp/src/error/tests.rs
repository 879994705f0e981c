//! The whole table of the classifier, from what the servers are known to say.

use super::*;
use bytes::Bytes;
use google_cloud_gax::error::CredentialsError;
use serde_json::{Value, json};

/// An answer of a REST service, read as the SDK reads it.
fn rest(http: u16, body: &Value) -> Error {
    let body = Bytes::from(body.to_string());
    let status = Status::try_from(&body).unwrap();
    let headers = Some(<_>::default());
    Error::api("doing", Sdk::service_with_http_metadata(status, Some(http), headers))
}

fn rest_status(http: u16, status: &str, message: &str) -> Error {
    rest(http, &json!({"error": {"code": http, "status": status, "message": message}}))
}

/// An answer that is not a status: a gateway's page, a plain text.
fn page(http: u16, text: &'static str) -> Error {
    Error::api("doing", Sdk::http(http, <_>::default(), Bytes::from_static(text.as_bytes())))
}

fn grpc(code: i32) -> Error {
    Error::api("doing", Sdk::service(Status::default().set_code(code)))
}

const ACT_AS: &str =
    "You do not have permission to act as service_account: sa@p.iam. (or it may not exist).";

#[test]
fn every_failure_has_its_class_and_says_whether_it_is_definite() {
    use Class::{Conflict, NotFound, Permission, Quota, Refused, Transient};
    let refused_credentials = Sdk::authentication(CredentialsError::from_msg(false, "no"));
    let late_credentials = Sdk::authentication(CredentialsError::from_msg(true, "later"));
    let cases = [
        ("cancelled", grpc(1), Transient, false),
        ("unknown", grpc(2), Transient, false),
        ("invalid argument", grpc(3), Refused, true),
        ("deadline exceeded", grpc(4), Transient, false),
        ("not found", grpc(5), NotFound, true),
        ("already exists", grpc(6), Conflict, true),
        ("permission denied", grpc(7), Permission, true),
        ("resource exhausted", grpc(8), Quota, true),
        ("failed precondition", grpc(9), Conflict, true),
        ("aborted", grpc(10), Transient, true),
        ("out of range", grpc(11), Refused, true),
        ("unimplemented", grpc(12), Refused, false),
        ("internal", grpc(13), Transient, false),
        ("unavailable", grpc(14), Transient, false),
        ("data loss", grpc(15), Transient, false),
        ("unauthenticated", grpc(16), Permission, true),
        ("rest 400", rest_status(400, "INVALID_ARGUMENT", "bad"), Refused, true),
        ("rest 400 actAs", rest_status(400, "INVALID_ARGUMENT", ACT_AS), Permission, true),
        ("rest 400 state", rest_status(400, "FAILED_PRECONDITION", "not yet"), Conflict, true),
        ("rest 401", rest_status(401, "UNAUTHENTICATED", "who"), Permission, true),
        ("rest 403", rest_status(403, "PERMISSION_DENIED", "no"), Permission, true),
        ("rest 404", rest_status(404, "NOT_FOUND", "gone"), NotFound, true),
        ("rest 409", rest_status(409, "ALREADY_EXISTS", "there"), Conflict, true),
        ("rest 429", rest_status(429, "RESOURCE_EXHAUSTED", "slow"), Quota, true),
        ("rest 499", rest_status(499, "CANCELLED", "cut"), Transient, false),
        ("rest 500", rest_status(500, "INTERNAL", "oops"), Transient, false),
        ("rest 503", rest_status(503, "UNAVAILABLE", "later"), Transient, false),
        ("rest 504", rest_status(504, "DEADLINE_EXCEEDED", "late"), Transient, false),
        ("a 5xx that claims a refusal", rest_status(502, "NOT_FOUND", "odd"), NotFound, false),
        // Cloud Storage's JSON API gives no status, only the code.
        ("storage 400", rest_status(400, "", "bad"), Refused, false),
        ("storage 403", rest_status(403, "", "no"), Permission, false),
        ("storage 404", rest_status(404, "", "gone"), NotFound, false),
        ("storage 412", rest_status(412, "", "moved on"), Conflict, false),
        ("storage 429", rest_status(429, "", "slow"), Quota, false),
        ("storage 503", rest_status(503, "", "later"), Transient, false),
        ("page 302", page(302, "login"), Transient, false),
        ("page 403", page(403, "<html>"), Permission, false),
        ("page 404", page(404, "No such object: b/o"), NotFound, false),
        ("page 408", page(408, "<html>"), Transient, false),
        ("page 410", page(410, "<html>"), NotFound, false),
        ("page 413", page(413, "<html>"), Refused, false),
        ("page 429", page(429, "<html>"), Quota, false),
        ("page 502", page(502, "<html>"), Transient, false),
        ("io", Error::api("doing", Sdk::io("reset")), Transient, false),
        ("connect", Error::api("doing", Sdk::connect("refused")), Transient, false),
        ("timeout", Error::api("doing", Sdk::timeout("late")), Transient, false),
        ("answer unreadable", Error::api("doing", Sdk::deser("odd")), Transient, false),
        ("request unwritable", Error::api("doing", Sdk::ser("odd")), Refused, false),
        ("credentials refused", Error::api("doing", refused_credentials), Permission, false),
        ("credentials late", Error::api("doing", late_credentials), Transient, false),
        ("our refusal", Error::refused("doing", "no"), Refused, true),
        ("our limit", Error::late("doing", Duration::from_secs(1)), Transient, false),
        ("corrupt", Error::corrupt("doing", "odd"), Transient, false),
        ("file", Error::file("doing", std::io::ErrorKind::NotFound.into()), Refused, false),
    ];
    for (name, error, class, definite) in cases {
        assert_eq!((error.class(), error.definite()), (class, definite), "{name}");
    }
}

#[test]
fn giving_up_on_retries_does_not_hide_what_the_server_said() {
    use google_cloud_gax::retry_policy::{AlwaysRetry, RetryPolicy as _, RetryPolicyExt as _};
    use google_cloud_gax::retry_state::RetryState;
    use google_cloud_gax::throttle_result::ThrottleResult;

    let status = Status::default().set_code(8).set_message("slow down");
    let policy = AlwaysRetry.with_time_limit(Duration::ZERO);
    let given_up = match policy.on_throttle(&RetryState::new(true), Sdk::service(status)) {
        ThrottleResult::Exhausted(error) | ThrottleResult::Continue(error) => error,
    };
    assert!(given_up.is_exhausted());
    let error = Error::api("doing", given_up);
    assert_eq!((error.class(), error.message()), (Class::Quota, "slow down".to_owned()));
}

#[test]
fn a_missing_permission_is_named() {
    let info = |message: &str| {
        rest(
            403,
            &json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": message,
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": "aiplatform.googleapis.com",
                "metadata": {"permission": "aiplatform.customJobs.create"},
            }]}}),
        )
    };
    let text = "Permission 'storage.objects.get' denied on resource (or it may not exist).";
    let cases = [
        (info("no"), Some("aiplatform.customJobs.create")),
        (rest_status(403, "PERMISSION_DENIED", text), Some("storage.objects.get")),
        (rest_status(400, "INVALID_ARGUMENT", ACT_AS), Some("iam.serviceAccounts.actAs")),
        (rest_status(403, "PERMISSION_DENIED", "The API is disabled."), None),
        (rest_status(403, "PERMISSION_DENIED", "Permission '' denied"), None),
        (page(403, "Permission 'x' denied"), None),
    ];
    for (error, expected) in cases {
        assert_eq!(error.missing_permission().as_deref(), expected);
    }
}

#[test]
fn the_servers_wish_to_be_left_alone_is_heard() {
    let delayed = |delay: &str| {
        rest(
            429,
            &json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.Unheard", "a": 1},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
            ]}}),
        )
    };
    assert_eq!(delayed("12.5s").retry_after(), Some(Duration::from_millis(12_500)));
    assert_eq!(delayed("-1s").retry_after(), None);
    assert_eq!(rest_status(429, "RESOURCE_EXHAUSTED", "slow").retry_after(), None);
}

#[test]
fn the_exhausted_quota_metrics_are_listed() {
    let cases: [(&str, &[&str]); 4] = [
        (
            "The following quota metrics exceed quota limits: aiplatform.googleapis.com/a_cpus",
            &["aiplatform.googleapis.com/a_cpus"],
        ),
        (
            "Failed: The following quota metrics exceed quota limits: x/a,x/b, x/c. See the docs, please.",
            &["x/a", "x/b", "x/c"],
        ),
        ("The following quota metrics exceed quota limits:", &[]),
        ("Quota exceeded for requests per minute.", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(rest_status(429, "RESOURCE_EXHAUSTED", text).quota_metrics(), expected);
        assert_eq!(quota_metrics(text), expected);
    }
}

#[test]
fn an_error_says_what_was_being_done_and_its_sources_say_why() {
    let error = Error::refused("reading gs://b/o", "it has 9 bytes; at most 8 are read");
    assert_eq!(error.to_string(), "reading gs://b/o");
    assert_eq!(error.source().unwrap().to_string(), error.message());
    assert_eq!(page(502, " <html>bad gateway ").message(), "HTTP 502: <html>bad gateway");
    assert_eq!(rest_status(404, "NOT_FOUND", "gone").message(), "gone");
}
