//! What the roles say of the configuration that their pods get.

use std::path::Path;

use branchline_service::config::load;
use serde_json::Value;

use crate::rendered::{configurations, of, parsed, rendered, text};

/// The overlay's configuration as files of a directory.
fn written(objects: &[Value], directory: &Path) {
    for map in of(objects, "ConfigMap") {
        for (name, content) in map["data"].as_object().unwrap() {
            std::fs::write(directory.join(name), text(content)).unwrap();
        }
    }
}

#[test]
fn the_roles_take_the_configuration_of_every_overlay() {
    for overlay in ["gke", "local"] {
        let Some(text) = rendered(overlay) else { return };
        // As whoever installs it fills it in: no worker takes a bucket of capitals.
        let text = text.replace("PROJECT", "acme-ml").replace("GROUP", "ml");
        let directory = tempfile::tempdir().unwrap();
        written(&parsed(&text), directory.path());
        let worker = directory.path().join("worker.yaml");
        let mut worker: branchline_worker::Config = load(&worker).unwrap();
        assert_eq!(worker.policy, Path::new("/etc/branchline/policy.yaml"), "{overlay}");
        worker.policy = directory.path().join("policy.yaml");
        let token = worker.gitlab.as_ref().map(|_| "a token".to_owned().into());
        branchline_worker::check(&worker, token).unwrap();
        let notifier = directory.path().join("notifier.yaml");
        let notifier: branchline_notifier::Config = load(&notifier).unwrap();
        // What the notifier is told and asks for is the worker's.
        let shared = notifier.merge_requests.as_ref().unwrap();
        assert_eq!(notifier.ledger_bucket, worker.ledger_bucket, "{overlay}");
        assert_eq!(notifier.dead_letter_topic, worker.dead_letter_topic, "{overlay}");
        assert_eq!(shared.queue_bucket, worker.queue_bucket, "{overlay}");
        assert_eq!(shared.request_bucket, worker.request_bucket, "{overlay}");
        if overlay == "gke" {
            assert_eq!(worker.listen.port(), 8080);
            assert_eq!(notifier.listen.port(), 8080);
        }
    }
}

#[test]
fn the_local_overlay_is_the_local_example_in_a_pod() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in ["worker.yaml", "notifier.yaml", "policy.yaml"] {
        let lines = |directory: &str| -> Vec<String> {
            let text = std::fs::read_to_string(top.join(directory).join(name)).unwrap();
            let own =
                |it: &&str| !["#", "policy:", "listen:"].iter().any(|key| it.starts_with(key));
            text.lines().filter(own).map(str::to_owned).collect()
        };
        assert_eq!(lines("deploy/k8s/overlays/local"), lines("examples/local"), "{name}");
    }
}

/// What a role's configuration names in Google Cloud, by key, whatever the project is called.
fn names(overlay: &str, project: &str, buckets: &str) -> Option<Vec<(String, String)>> {
    let objects = parsed(&rendered(overlay)?);
    let pods = of(&objects, "Deployment").map(|it| &it["spec"]["template"]);
    let files = pods.flat_map(|it| configurations(&objects, it)).map(|(_, it)| it);
    let pairs = files.flat_map(|it| it.as_object().unwrap().clone());
    let texts = pairs.filter_map(|(key, it)| Some((key, it.as_str()?.to_owned())));
    let ours = texts.filter(|(_, it)| it.starts_with(buckets) || it.starts_with("projects/"));
    let plain = |it: &str| it.replace(&format!("projects/{project}/"), "").replace(buckets, "");
    let mut names: Vec<_> = ours.map(|(key, it)| (key, plain(&it))).collect();
    names.sort();
    Some(names)
}

#[test]
fn gke_has_the_names_of_every_installation() {
    let Some(gke) = names("gke", "PROJECT", "PROJECT-") else { return };
    assert_eq!(gke.len(), 13);
    assert_eq!(Some(gke), names("local", "demo-project", "demo-"));
}
