//! What the inputs are made from: golden files and examples that are checked in.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use branchline_contract::ArtifactReady;
use serde_json::{Value, json};

/// Every golden event as it was published, by name.
pub(crate) static EVENTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let directory = root().join("crates/contract/golden");
    let paths = fs::read_dir(directory).unwrap().map(|it| it.unwrap().path());
    let mut paths: Vec<_> = paths.collect();
    paths.sort();
    paths.iter().map(|it| serde_json::from_slice(&fs::read(it).unwrap()).unwrap()).collect()
});

/// The bodies of the golden run events.
pub(crate) static RUN_EVENTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let bodies = EVENTS.iter().map(|it| it["data"].clone());
    bodies.filter(|it| it.get("run_id").is_some()).collect()
});

/// Requests for all four kinds of jobs: the golden one, and those of the example.
pub(crate) static REQUESTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let golden = golden_request();
    let artifact = |name: &str| {
        json!({
            "name": name, "directory": "gs://artifacts/iris/", "uri": format!("gs://artifacts/iris/{name}"),
            "generation": 1, "size": 1, "crc32c": "AAAAAA=="
        })
    };
    let requests = TRAININGS.iter().map(|training| {
        let mut request = golden.clone();
        request["artifacts"] = json!([artifact("data"), artifact("code"), artifact("code")]);
        request["training"] = training.clone();
        request
    });
    requests.chain([golden.clone()]).collect()
});

/// The same, decoded.
pub(crate) static DECODED: LazyLock<Vec<ArtifactReady>> = LazyLock::new(|| {
    REQUESTS.iter().map(|it| serde_json::from_value(it.clone()).unwrap()).collect()
});

/// The training specs of the golden request and of the example, with its parameters filled in.
pub(crate) static TRAININGS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let text = example("iris/branchline.yaml").replace("{{ params.epochs }}", "3");
    let example: Value = serde_saphyr::from_str(&text).unwrap();
    let runs = example["runs"].as_object().unwrap().values();
    let mut trainings: Vec<Value> = runs.map(|it| it["training"].clone()).collect();
    for it in &mut trainings {
        if let Some(spec) = it.pointer_mut("/pipeline_job/pipelineSpec") {
            *spec = serde_json::from_str(&self::example("iris/pipeline.json")).unwrap();
        }
    }
    trainings.push(golden_request()["training"].clone());
    trainings
});

fn golden_request() -> Value {
    let mut bodies = EVENTS.iter().map(|it| &it["data"]);
    bodies.find(|it| it.get("training").is_some()).unwrap().clone()
}

/// A file below `examples/`.
pub(crate) fn example(path: &str) -> String {
    fs::read_to_string(root().join("examples").join(path)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
