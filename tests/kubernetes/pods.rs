//! What holds for every pod and container.

use std::time::Duration;

use branchline_service::Period;
use branchline_service::consume::Options;
use serde_json::{Value, json};

use crate::rendered::{configurations, list, named, text};

/// What a role needs beside `consume.grace` to end.
const END: Duration = Duration::from_secs(5);
/// Probes, and what each may ask.
const PROBES: [(&str, &[&str]); 3] = [
    ("startupProbe", &["/livez", "/readyz"]),
    ("livenessProbe", &["/livez"]),
    ("readinessProbe", &["/readyz"]),
];

/// What is wrong with a pod.
pub(crate) fn pod_breaks(objects: &[Value], pod: &Value) -> Vec<String> {
    let (spec, mut wrong) = (&pod["spec"], Vec::new());
    let security = &spec["securityContext"];
    if security["runAsNonRoot"] != true || security["runAsUser"] != 65532 {
        wrong.push("runs as root, or may".to_owned());
    }
    if security["seccompProfile"]["type"] != "RuntimeDefault" {
        wrong.push("has no seccomp profile".to_owned());
    }
    if spec["automountServiceAccountToken"] != false {
        wrong.push("holds Kubernetes' token".to_owned());
    }
    let host = ["hostNetwork", "hostPID", "hostIPC"];
    if host.iter().any(|it| !spec[it].is_null()) {
        wrong.push("shares what is the node's".to_owned());
    }
    for volume in list(&spec["volumes"]) {
        wrong.extend(volume_breaks(objects, volume));
    }
    let granted = spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    let configurations = configurations(objects, pod);
    for (name, config) in &configurations {
        if Duration::from_secs(granted) < grace(config) + END {
            wrong.push(format!("{name}: its drain is longer than {granted}s"));
        }
    }
    let keys: Vec<_> =
        list(&spec["topologySpreadConstraints"]).map(|it| &it["topologyKey"]).collect();
    for key in ["topology.kubernetes.io/zone", "kubernetes.io/hostname"] {
        if !keys.iter().any(|it| **it == key) {
            wrong.push(format!("is not spread over {key}"));
        }
    }
    let containers = ["initContainers", "containers"].map(|it| list(&spec[it]));
    for container in containers.into_iter().flatten() {
        let about = |it| format!("{}: {it}", text(&container["name"]));
        wrong.extend(container_breaks(container).into_iter().map(about));
        wrong.extend(token_breaks(container, &configurations).map(about));
    }
    wrong
}

/// How long a role of that configuration may take to drain.
fn grace(config: &Value) -> Duration {
    let written = config["consume"]["grace"].as_str();
    written.map_or(Options::default().grace, |it| it.parse::<Period>().unwrap()).get()
}

fn volume_breaks(objects: &[Value], volume: &Value) -> Option<String> {
    let missing = |kind: &str, name: &Value| {
        let there = named(objects, kind, name).is_some();
        (!there).then(|| format!("there is no {kind} {name}"))
    };
    if !volume["hostPath"].is_null() || !volume["secret"].is_null() {
        return Some(format!("mounts a hostPath or Secret: {volume}"));
    }
    match (&volume["configMap"]["name"], &volume["csi"]["volumeAttributes"]["secretProviderClass"])
    {
        (Value::Null, Value::Null) => None,
        (Value::Null, class) => missing("SecretProviderClass", class),
        (config, _) => missing("ConfigMap", config),
    }
}

fn container_breaks(container: &Value) -> Vec<String> {
    let (security, mut wrong) = (&container["securityContext"], Vec::new());
    let laws = [
        ("writes to its root", security["readOnlyRootFilesystem"] == true),
        ("may gain privileges", security["allowPrivilegeEscalation"] == false),
        ("has capabilities", security["capabilities"] == json!({"drop": ["ALL"]})),
        ("is privileged", security["privileged"].is_null()),
        (
            "runs as root, or may",
            ["runAsUser", "runAsNonRoot"].iter().all(|it| security[it].is_null()),
        ),
        ("has an image of no version", has_version(text(&container["image"]))),
    ];
    wrong.extend(laws.iter().filter(|(_, holds)| !holds).map(|(what, _)| (*what).to_owned()));
    for (kind, what) in
        [("requests", "cpu"), ("requests", "memory"), ("limits", "cpu"), ("limits", "memory")]
    {
        if container["resources"][kind][what].is_null() {
            wrong.push(format!("has no {kind}.{what}"));
        }
    }
    for (probe, may) in PROBES {
        let probed = &container[probe];
        let (asked, port) = (&probed["httpGet"]["path"], &probed["httpGet"]["port"]);
        if probed.is_null() {
            wrong.push(format!("has no {probe}"));
        } else if probed["exec"].is_null() {
            if !may.contains(&text(asked)) {
                wrong.push(format!("its {probe} asks {asked}"));
            }
            if !list(&container["ports"]).any(|it| it["name"] == *port) {
                wrong.push(format!("its {probe} asks the port {port}, which it does not have"));
            }
        }
    }
    wrong
}

/// Whether an image is named by digest, or by a tag that stays.
fn has_version(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    name.contains("@sha256:") || name.split_once(':').is_some_and(|(_, tag)| tag != "latest")
}

/// GitLab's token comes as a file, into the roles whose configuration names a GitLab.
fn token_breaks(container: &Value, configurations: &[(String, Value)]) -> Option<String> {
    let variable = |name: &str| list(&container["env"]).find(|it| it["name"] == name);
    if variable("BRANCHLINE_GITLAB_TOKEN").is_some()
        || list(&container["env"]).any(|it| !it["valueFrom"].is_null())
    {
        return Some("has a token in its environment".to_owned());
    }
    let role = list(&container["args"]).next()?;
    let (_, config) =
        configurations.iter().find(|(name, _)| *name == format!("{}.yaml", text(role)))?;
    let file = variable("BRANCHLINE_GITLAB_TOKEN_FILE").map(|it| text(&it["value"]));
    let mounted = file.is_some_and(|file| {
        list(&container["volumeMounts"]).any(|it| file.starts_with(text(&it["mountPath"])))
    });
    let agrees = if config["gitlab"].is_null() { file.is_none() } else { mounted };
    (!agrees).then(|| "its token for GitLab does not agree with its configuration".to_owned())
}
