//! The API around the jobs: names, lists, refusals.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{PARENT, Stack, custom_job};

#[tokio::test]
async fn answers_carry_project_numbers_and_requests_may_name_either() {
    let stack = Stack::new();
    let collection = "/v1/projects/my-project/locations/us-central1/customJobs";
    let (status, job) = stack.send("POST", collection, &custom_job("true")).await;
    assert_eq!(status, StatusCode::OK, "{job}");
    let name = job["name"].as_str().unwrap();
    let segments: Vec<_> = name.split('/').collect();
    assert!(segments[1].parse::<u64>().is_ok(), "{name}");
    assert!(segments[5].parse::<u64>().is_ok(), "{name}");
    assert!(["JOB_STATE_QUEUED", "JOB_STATE_PENDING"].contains(&job["state"].as_str().unwrap()));
    assert_eq!(stack.get(&format!("/v1/{name}")).await["name"], name);
    assert_eq!(stack.get(&format!("{collection}/{}", segments[5])).await["name"], name);
    let elsewhere = "/v1/projects/other-project/locations/us-central1/customJobs";
    assert_eq!(stack.get(elsewhere).await, json!({"customJobs": []}));
}

#[tokio::test]
async fn a_create_that_cannot_be_run_names_every_wrong_field() {
    let stack = Stack::new();
    let container = "/jobSpec/workerPoolSpecs/0/containerSpec";
    let cases = [
        ("/displayName", json!(""), "display_name; Message: Required field is not set."),
        ("/displayName", json!("x".repeat(129)), "display_name; Message: The display name"),
        ("/labels", json!({"a": "x".repeat(65)}), "labels[a]; Message: Label keys"),
        ("/labels", json!({"Upper": "x"}), "labels[Upper]; Message: Label keys"),
        ("/jobSpec", Value::Null, "job_spec; Message: Required field is not set."),
        (
            "/jobSpec/workerPoolSpecs",
            json!([]),
            "job_spec.worker_pool_specs; Message: Required field is not set.",
        ),
        (
            "/jobSpec/workerPoolSpecs/0/machineSpec",
            json!({}),
            "job_spec.worker_pool_specs[0].machine_spec.machine_type; Message: Required",
        ),
        (
            "/jobSpec/workerPoolSpecs/0/replicaCount",
            json!(2),
            "job_spec.worker_pool_specs[0].replica_count; Message: The first",
        ),
        (container, Value::Null, "job_spec.worker_pool_specs[0].container_spec; Message: Required"),
        (
            &format!("{container}/imageUri"),
            json!(""),
            "job_spec.worker_pool_specs[0].container_spec.image_uri; Message: Required",
        ),
        (
            &format!("{container}/command"),
            json!([]),
            "container_spec.command; Message: The local stack pulls no images",
        ),
        (
            "/jobSpec/baseOutputDirectory/outputUriPrefix",
            json!("/tmp"),
            "job_spec.base_output_directory.output_uri_prefix; Message: '/tmp'",
        ),
    ];
    for (pointer, value, part) in cases {
        let mut job = custom_job("true");
        job["labels"] = json!({});
        *job.pointer_mut(pointer).unwrap() = value;
        let message = stack.refuse("customJobs", &job).await;
        assert!(message.starts_with("List of found errors:\t1.Field: "), "{message}");
        assert!(message.contains(part), "{pointer}: {message}");
    }
    assert_eq!(
        stack.refuse("customJobs", &json!({})).await,
        "List of found errors:\t1.Field: display_name; Message: Required field is not set.\
         \t2.Field: job_spec; Message: Required field is not set.\t"
    );
}

#[tokio::test]
async fn fields_that_do_not_exist_or_do_not_fit_are_refused_with_their_path() {
    let stack = Stack::new();
    let cases = [
        (
            "/jobSpec",
            json!({"workerPools": []}),
            "Invalid JSON payload received. Unknown name \"workerPools\" at 'custom_job.job_spec': Cannot find field.",
        ),
        (
            "/jobSpec/workerPoolSpecs/0/replicaCount",
            json!("two"),
            "Invalid value at 'custom_job.job_spec.worker_pool_specs[0].replica_count' (TYPE_INT64), \"two\"",
        ),
        ("/displayName", json!(7), "Invalid value at 'custom_job.display_name' (TYPE_STRING), 7"),
    ];
    for (pointer, value, expected) in cases {
        let mut job = custom_job("true");
        *job.pointer_mut(pointer).unwrap() = value;
        assert_eq!(stack.refuse("customJobs", &job).await, expected);
    }
}

#[tokio::test]
async fn numbers_names_and_both_spellings_are_understood() {
    let stack = Stack::new();
    let job = json!({
        "display_name": "train",
        "name": "ignored",
        "state": 4,
        "job_spec": {
            "worker_pool_specs": [{
                "machine_spec": {"machine_type": "n1-standard-4", "accelerator_type": 4},
                "replica_count": 1.0,
                "container_spec": {"image_uri": "image", "command": ["true"]},
            }],
            "scheduling": {"timeout": "3600s", "strategy": 3},
        },
    });
    let path = stack.create("customJobs?%24alt=json%3Benum-encoding%3Dint", &job).await;
    let job = stack.end(&path).await;
    assert_eq!(job["displayName"], "train");
    assert_eq!(job["jobSpec"]["workerPoolSpecs"][0]["replicaCount"], "1");
}

#[tokio::test]
async fn places_methods_and_jobs_that_do_not_exist_are_refused() {
    let stack = Stack::new();
    let cases = [
        (
            "POST",
            "/v1/projects/p/locations/mars-north1/customJobs",
            400,
            "Unsupported location: mars-north1",
        ),
        ("GET", "/v1/projects/p/locations/us-central1/customJobs/1", 404, "was not found"),
        ("POST", "/v1/projects/p/locations/us-central1/customJobs/1:cancel", 404, "was not found"),
        ("DELETE", "/v1/projects/p/locations/us-central1/customJobs/1", 404, "was not found"),
        (
            "POST",
            "/v1/projects/p/locations/us-central1/customJobs/1:explode",
            404,
            "Method not found.",
        ),
        ("GET", "/v1/projects/p/locations/us-central1/datasets", 404, "Method not found"),
        ("PATCH", "/v1/projects/p/locations/us-central1/customJobs", 404, "Method not found"),
        (
            "GET",
            "/v1/projects/p/locations/us-central1/customJobs?orderBy=create_time",
            400,
            "Unknown name \"orderBy\": Cannot bind",
        ),
        ("GET", "/v1/projects/p/locations/us-central1/customJobs?pageSize=-1", 400, "page_size"),
        ("GET", "/v1/projects/p/locations/us-central1/customJobs?pageToken=x", 400, "page token"),
    ];
    for (method, path, status, part) in cases {
        let (actual, body) = stack.send(method, path, &Value::Null).await;
        assert_eq!(actual.as_u16(), status, "{method} {path}: {body}");
        assert!(
            body["error"]["message"].as_str().unwrap().contains(part),
            "{method} {path}: {body}"
        );
    }
}

fn percent_encoded(text: &str) -> String {
    let bytes: Vec<_> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    bytes.concat()
}

#[tokio::test]
async fn a_list_is_filtered() {
    let stack = Stack::new();
    for (name, run, script) in
        [("one", "r1", "true"), ("two", "r2", "false"), ("three", "r2", "true")]
    {
        let mut job = custom_job(script);
        job["displayName"] = json!(name);
        job["labels"] = json!({"run": run, format!("only-{name}"): "x"});
        let path = stack.create("customJobs", &job).await;
        stack.end(&path).await;
    }
    let cases = [
        ("", vec!["three", "two", "one"]),
        ("labels.run=r2", vec!["three", "two"]),
        ("labels.run=\"r1\"", vec!["one"]),
        ("labels.only-two:*", vec!["two"]),
        ("NOT labels.only-two:*", vec!["three", "one"]),
        ("-labels.run=r1", vec!["three", "two"]),
        ("display_name=two", vec!["two"]),
        ("display_name!=two", vec!["three", "one"]),
        ("displayName:\"t*\"", vec!["three", "two"]),
        ("state=\"JOB_STATE_SUCCEEDED\"", vec!["three", "one"]),
        ("state=JOB_STATE_FAILED OR display_name=one", vec!["two", "one"]),
        ("labels.run=r2 AND (state=JOB_STATE_FAILED OR display_name=one)", vec!["two"]),
        // OR binds tighter than AND.
        ("display_name=one OR display_name=two AND labels.run=r2", vec!["two"]),
        ("create_time>\"2020-01-01T00:00:00Z\" AND create_time<2020-01-02T00:00:00Z", vec![]),
        ("create_time>=2020-01-01T00:00:00Z labels.run=r1", vec!["one"]),
    ];
    for (filter, expected) in cases {
        let query = percent_encoded(filter);
        let body =
            stack.get(&format!("{PARENT}/customJobs?filter={query}&pageToken=&pageSize=0")).await;
        let jobs = body["customJobs"].as_array().unwrap();
        let names: Vec<_> = jobs.iter().map(|job| job["displayName"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{filter}");
    }
    for filter in ["labels.run", "run=r1", "(state=x", "state=\"x", "create_time>soon", "state=x)"]
    {
        let query = percent_encoded(filter);
        let (status, body) =
            stack.send("GET", &format!("{PARENT}/customJobs?filter={query}"), &Value::Null).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{filter}: {body}");
    }
}

#[tokio::test]
async fn a_list_comes_in_pages_that_newer_jobs_do_not_disturb() {
    let stack = Stack::new();
    for number in 0..5 {
        let mut job = custom_job("true");
        job["displayName"] = json!(number.to_string());
        stack.create("customJobs", &job).await;
    }
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let page = stack
            .get(&format!("{PARENT}/customJobs?pageSize=2&pageToken={token}&readMask=displayName"))
            .await;
        let jobs = page["customJobs"].as_array().unwrap();
        names.extend(jobs.iter().map(Value::to_string));
        let Some(next) = page["nextPageToken"].as_str() else {
            break;
        };
        next.clone_into(&mut token);
        stack.create("customJobs", &custom_job("true")).await;
    }
    let expected: Vec<_> = (0..5).rev().map(|it| format!("{{\"displayName\":\"{it}\"}}")).collect();
    assert_eq!(names, expected);
}
