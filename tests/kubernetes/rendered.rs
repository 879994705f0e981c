//! Overlays as kustomize renders them, and what is looked up in them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What kubectl makes of an overlay. Where CI is set there has to be one.
pub(crate) fn rendered(overlay: &str) -> Option<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let directory = top.join("deploy/k8s/overlays").join(overlay);
    let Ok(output) = Command::new("kubectl").arg("kustomize").arg(directory).output() else {
        assert!(std::env::var_os("CI").is_none(), "kubectl is missing");
        eprintln!("skipped: no manifest was rendered, because kubectl is missing");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The objects of a stream of YAML.
pub(crate) fn parsed(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// The objects of a kind.
pub(crate) fn of<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |it| it["kind"] == kind)
}

/// The pods that the Deployments make.
pub(crate) fn pods(objects: &[Value]) -> impl Iterator<Item = &Value> {
    of(objects, "Deployment").map(|it| &it["spec"]["template"])
}

/// The object of that kind and name.
pub(crate) fn named<'a>(objects: &'a [Value], kind: &str, name: &Value) -> Option<&'a Value> {
    of(objects, kind).find(|it| it["metadata"]["name"] == *name)
}

/// The elements of a list, of which there are none where there is no list.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A text, empty where there is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Whether a selector's labels are all among an object's; a selector without labels selects nothing.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object();
    wanted.is_some_and(|it| it.iter().all(|(key, value)| labels[key] == *value))
}

/// The configuration that is mounted into a pod, by its file's name; the policy is none.
pub(crate) fn configurations(objects: &[Value], pod: &Value) -> Vec<(String, Value)> {
    let mounted = list(&pod["spec"]["volumes"]).map(|it| &it["configMap"]["name"]);
    let maps = mounted.filter_map(|it| named(objects, "ConfigMap", it));
    let files = maps.filter_map(|it| it["data"].as_object()).flatten();
    let files = files.filter(|(name, _)| *name != "policy.yaml");
    files.map(|(name, it)| (name.clone(), serde_saphyr::from_str(text(it)).unwrap())).collect()
}
