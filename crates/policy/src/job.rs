//! The variable `job`: what a training spec asks for, of all four kinds. Pure.
//!
//! What a spec does not tell is null, and so are the lists of a spec that does not tell
//! everything: a rule over them fails then, instead of holding for what nobody has seen.

use branchline_contract::{JobKind, vertex_fields};
use serde_json::{Map, Value, json};

/// The variable, from a body in Vertex AI's own form with its placeholders filled.
pub(crate) fn facts(kind: JobKind, body: &Value) -> Value {
    let labels = body.get("labels").cloned().unwrap_or_else(|| json!({}));
    let mut job = match kind {
        JobKind::CustomJob => custom(&body["jobSpec"], &json!(1)),
        JobKind::HyperparameterTuningJob => {
            custom(&body["trialJobSpec"], body.get("parallelTrialCount").unwrap_or(&json!(1)))
        }
        JobKind::TrainingPipeline
            if body.as_object().is_some_and(vertex_fields::is_custom_task) =>
        {
            let served = body.pointer("/modelToUpload/containerSpec/imageUri");
            let mut job = custom(&body["trainingTaskInputs"], &json!(1));
            if let (Some(images), Some(served)) = (job["images"].as_array_mut(), served) {
                images.push(image(served));
            }
            job
        }
        // What AutoML trains on is Google's to choose.
        JobKind::TrainingPipeline => json!({}),
        JobKind::PipelineJob => pipeline(body),
    };
    job["kind"] = json!(kind.key());
    job["labels"] = labels;
    job
}

/// A `CustomJobSpec`, run so many times at once.
fn custom(spec: &Value, at_once: &Value) -> Value {
    let pools = spec["workerPoolSpecs"].as_array().map_or(&[][..], Vec::as_slice);
    let used: Vec<&Value> = pools.iter().filter(|it| is_used(it)).collect();
    let machines = used.iter().map(|it| text(&it["machineSpec"]["machineType"]));
    let accelerators = used.iter().filter_map(|it| {
        let machine = &it["machineSpec"];
        let of = &machine["acceleratorType"];
        let none = of.is_null() || of == "ACCELERATOR_TYPE_UNSPECIFIED";
        (!none).then(|| accelerator(of, &machine["acceleratorCount"]))
    });
    let images = used.iter().flat_map(|it| {
        [&it["containerSpec"]["imageUri"], &it["pythonPackageSpec"]["executorImageUri"]]
    });
    let packages = used.iter().flat_map(|it| {
        it["pythonPackageSpec"]["packageUris"].as_array().into_iter().flatten().map(text)
    });
    let replicas = used.iter().try_fold(0_i64, |sum, it| match &it["replicaCount"] {
        Value::Null => sum.checked_add(1),
        count => sum.checked_add(whole(count)?),
    });
    let replicas = replicas.zip(whole(at_once));
    let scheduling = &spec["scheduling"];
    json!({
        "machine_types": machines.collect::<Value>(),
        "accelerators": accelerators.collect::<Value>(),
        "images": images.filter(|it| !it.is_null()).map(image).collect::<Value>(),
        "replicas": replicas.and_then(|(each, times)| each.checked_mul(times)),
        "timeout_seconds": seconds(&scheduling["timeout"]),
        "spot": match text(&scheduling["strategy"]) {
            Value::String(strategy) => json!(strategy == "SPOT"),
            _ if scheduling["strategy"].is_null() => json!(false),
            _ => Value::Null,
        },
        "service_account": text(&spec["serviceAccount"]),
        "network": text(&spec["network"]),
        "network_attachment": text(&spec["pscInterfaceConfig"]["networkAttachment"]),
        "reserved_ip_ranges": texts(&spec["reservedIpRanges"]),
        "persistent_resource": text(&spec["persistentResourceId"]),
        "web_access": either(&spec["enableWebAccess"], &spec["enableDashboardAccess"]),
        "packages": packages.collect::<Value>(),
    })
}

/// A pool that only keeps its place in the list asks for nothing.
fn is_used(pool: &Value) -> bool {
    pool.as_object().is_some_and(|it| !it.is_empty()) && whole(&pool["replicaCount"]) != Some(0)
}

/// A pipeline: Vertex AI chooses its machines, and how often a step runs shows when it runs.
fn pipeline(body: &Value) -> Value {
    let steps = if body.get("templateUri").is_some() { None } else { steps(body) };
    let (images, accelerators) = steps.map_or((Value::Null, Value::Null), |steps| {
        let images = steps.iter().map(|it| image(it.image)).collect();
        let asking = steps.iter().filter_map(|it| it.accelerator);
        (images, asking.map(|(of, count)| accelerator(of, count)).collect())
    });
    json!({
        "images": images,
        "accelerators": accelerators,
        "service_account": text(&body["serviceAccount"]),
        "network": text(&body["network"]),
        "network_attachment": text(&body["pscInterfaceConfig"]["networkAttachment"]),
        "reserved_ip_ranges": texts(&body["reservedIpRanges"]),
    })
}

/// What one step of a pipeline runs.
struct Step<'a> {
    image: &'a Value,
    accelerator: Option<(&'a Value, &'a Value)>,
}

/// Every step; `None` when one of them is not a container or does not show what it is.
fn steps(body: &Value) -> Option<Vec<Step<'_>>> {
    let deployment = field(body.get("pipelineSpec")?, ["deploymentSpec", "deployment_spec"])?;
    let executors = deployment.get("executors")?.as_object()?;
    let mut steps = Vec::new();
    for executor in executors.values().map(Value::as_object) {
        let executor = executor?;
        match executor.iter().next().map(|(key, it)| (key.as_str(), it)) {
            Some(("importer", _)) if executor.len() == 1 => {}
            Some(("container", container)) if executor.len() == 1 => steps.push(step(container)?),
            Some(_) | None => return None,
        }
    }
    Some(steps)
}

fn step(container: &Value) -> Option<Step<'_>> {
    let image = container.get("image")?;
    let none = Step { image, accelerator: None };
    let Some(asked) = container.get("resources").and_then(|it| it.get("accelerator")) else {
        return Some(none);
    };
    // Newer compilers write the second name, which may hold a parameter of the pipeline.
    let of = only(asked.as_object()?, ["type", "resourceType", "resource_type"])?;
    let count = only(asked.as_object()?, ["count", "resourceCount", "resource_count"])?;
    Some(Step { accelerator: Some((of, count)), ..none })
}

/// A field by either of its names; `None` too when it has both, which one reader may take
/// for one thing and another for another.
fn field<'a>(value: &'a Value, names: [&str; 2]) -> Option<&'a Value> {
    only(value.as_object()?, names)
}

fn only<'a, const N: usize>(map: &'a Map<String, Value>, names: [&str; N]) -> Option<&'a Value> {
    let mut found = names.iter().filter_map(|it| map.get(*it));
    found.next().filter(|_| found.next().is_none())
}

fn accelerator(of: &Value, count: &Value) -> Value {
    json!({"type": text(of), "count": whole(count)})
}

/// A reference to a container image, taken apart.
fn image(uri: &Value) -> Value {
    let Value::String(uri) = text(uri) else { return Value::Null };
    let first = uri.split_once('/').map(|(first, _)| first);
    // As Docker tells a host from a directory of its own registry.
    let host = first.filter(|it| it.contains(['.', ':']) || *it == "localhost");
    let digest = uri.split_once('@').map(|(_, digest)| digest);
    json!({"uri": uri, "registry": host.unwrap_or("docker.io"), "digest": digest})
}

/// A text that says what it means; one that holds a parameter of a pipeline, or `{{ output }}`,
/// does not.
fn text(value: &Value) -> Value {
    match value.as_str() {
        Some(text) if !text.contains("{{") => json!(text),
        Some(_) | None => Value::Null,
    }
}

fn texts(value: &Value) -> Value {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// Whether one of two switches is on; null where that cannot be told.
fn either(one: &Value, other: &Value) -> Value {
    let on = |it: &Value| if it.is_null() { Some(false) } else { it.as_bool() };
    match (on(one), on(other)) {
        (Some(true), _) | (_, Some(true)) => json!(true),
        (Some(false), Some(false)) => json!(false),
        (None, _) | (_, None) => Value::Null,
    }
}

/// A number, as the API's JSON writes those of 64 bits too.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// `"3600s"`, rounded up.
fn seconds(value: &Value) -> Option<i64> {
    let text = value.as_str()?.strip_suffix('s')?;
    let (seconds, more) = text.split_once('.').unwrap_or((text, "0"));
    let more = more.bytes().any(|it| it != b'0');
    seconds.parse::<i64>().ok()?.checked_add(i64::from(more))
}
