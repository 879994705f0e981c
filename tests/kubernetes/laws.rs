//! What holds for the objects of an installation together.

use serde_json::{Value, json};

use crate::pods::pod_breaks;
use crate::reach::shut;
use crate::rendered::{configurations, list, named, of, pods, selects, text};

/// Every law that is broken.
pub(crate) fn broken(objects: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(of(objects, "Secret").map(|it| format!("a Secret: {}", it["metadata"]["name"])));
    for object in objects {
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        let said = match kind {
            "Deployment" => deployment_breaks(objects, object),
            "ServiceAccount" => account_breaks(object),
            "ConfigMap" => config_map_breaks(object),
            "NetworkPolicy" => network_breaks(objects, object),
            "HorizontalPodAutoscaler" => autoscaler_breaks(objects, object),
            "PodMonitoring" => monitoring_breaks(objects, object),
            _ => Vec::new(),
        };
        wrong.extend(said.into_iter().map(|it| format!("{kind} {name}: {it}")));
        if kind != "Namespace" && object["metadata"]["namespace"] != "branchline" {
            wrong.push(format!("{kind} {name}: in no namespace, or another"));
        }
    }
    let enforced =
        |it: &Value| it["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted";
    if !of(objects, "Namespace").any(enforced) {
        wrong.push("the namespace lets any pod in".to_owned());
    }
    let denies = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    if !of(objects, "NetworkPolicy").any(|it| it["spec"] == denies) {
        wrong.push("nothing is denied by default".to_owned());
    }
    wrong.extend(shut(objects));
    wrong
}

fn deployment_breaks(objects: &[Value], deployment: &Value) -> Vec<String> {
    let (spec, name) = (&deployment["spec"], &deployment["metadata"]["name"]);
    let (pod, rolling) = (&spec["template"], &spec["strategy"]["rollingUpdate"]);
    let labels = &pod["metadata"]["labels"];
    let mut wrong = pod_breaks(objects, pod);
    // deploy/terraform lets Kubernetes' accounts of these names be the roles.
    let account = &pod["spec"]["serviceAccountName"];
    if account != name || named(objects, "ServiceAccount", account).is_none() {
        wrong.push(format!("its service account is {account}"));
    }
    if *rolling != json!({"maxSurge": 1, "maxUnavailable": 0})
        || spec["minReadySeconds"].as_u64() < Some(10)
    {
        wrong.push("a rollout takes pods away before others are ready".to_owned());
    }
    if !selects(&spec["selector"], labels) {
        wrong.push("does not select its own pods".to_owned());
    }
    let budget =
        of(objects, "PodDisruptionBudget").find(|it| selects(&it["spec"]["selector"], labels));
    let budget =
        budget.map(|it| (&it["spec"]["maxUnavailable"], &it["spec"]["unhealthyPodEvictionPolicy"]));
    if budget != Some((&json!(1), &json!("AlwaysAllow"))) {
        wrong.push("has no disruption budget, or one that holds up a drain".to_owned());
    }
    wrong
}

fn account_breaks(account: &Value) -> Vec<String> {
    let metadata = &account["metadata"];
    let google = &metadata["annotations"]["iam.gke.io/gcp-service-account"];
    let own = format!("branchline-{}@", text(&metadata["name"]));
    let other = google.is_string() && !text(google).starts_with(&own);
    other.then(|| format!("its Workload Identity is {google}")).into_iter().collect()
}

fn config_map_breaks(map: &Value) -> Vec<String> {
    let hashed = text(&map["metadata"]["name"]).rsplit_once('-').is_some_and(|(_, hash)| {
        hash.len() == 10 && hash.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
    });
    (!hashed)
        .then(|| "its name has no hash, so a change is no rollout".to_owned())
        .into_iter()
        .collect()
}

fn network_breaks(objects: &[Value], policy: &Value) -> Vec<String> {
    let (spec, mut wrong) = (&policy["spec"], Vec::new());
    let everything = spec["podSelector"] == json!({});
    if !everything
        && !pods(objects).all(|it| selects(&spec["podSelector"], &it["metadata"]["labels"]))
    {
        wrong.push("is not about every pod".to_owned());
    }
    if list(&spec["ingress"])
        .any(|it| list(&it["from"]).count() == 0 || list(&it["ports"]).count() == 0)
    {
        wrong.push("anybody may come in, or anywhere".to_owned());
    }
    for rule in list(&spec["egress"]) {
        let ports: Vec<_> = list(&rule["ports"]).map(|it| &it["port"]).collect();
        let to: Vec<_> = list(&rule["to"]).map(|it| text(&it["ipBlock"]["cidr"])).collect();
        let anywhere = to.is_empty() || to.iter().any(|it| it.ends_with("/0"));
        if ports.is_empty() || anywhere && ports.iter().any(|it| **it != 443) {
            wrong.push("lets out to anywhere by more than HTTPS".to_owned());
        }
    }
    wrong
}

/// It counts the very messages that the workers take.
fn autoscaler_breaks(objects: &[Value], autoscaler: &Value) -> Vec<String> {
    let (spec, mut wrong) = (&autoscaler["spec"], Vec::new());
    let Some(target) = named(objects, "Deployment", &spec["scaleTargetRef"]["name"]) else {
        return vec!["the autoscaler has no Deployment".to_owned()];
    };
    if !target["spec"]["replicas"].is_null() {
        wrong.push("the autoscaler and the Deployment both count".to_owned());
    }
    for metric in list(&spec["metrics"]) {
        let metric = &metric["external"]["metric"];
        let labels = &metric["selector"]["matchLabels"];
        let label = |it: &str| text(&labels[format!("resource.labels.{it}")]);
        let counted =
            format!("projects/{}/subscriptions/{}", label("project_id"), label("subscription_id"));
        let configured = configurations(objects, &target["spec"]["template"]);
        let same = configured.iter().any(|(_, it)| it["subscription"] == counted);
        if !same || metric["name"] != "pubsub.googleapis.com|subscription|num_undelivered_messages"
        {
            wrong.push(format!("the autoscaler counts {} of {counted}", metric["name"]));
        }
    }
    wrong
}

fn monitoring_breaks(objects: &[Value], monitoring: &Value) -> Vec<String> {
    let (spec, mut wrong) = (&monitoring["spec"], Vec::new());
    for pod in pods(objects) {
        let labels = &pod["metadata"]["labels"];
        if !selects(&spec["selector"], labels) {
            wrong.push(format!("does not scrape {labels}"));
        }
        let ports: Vec<_> =
            list(&pod["spec"]["containers"]).flat_map(|it| list(&it["ports"])).collect();
        let there = |it: &Value| ports.iter().any(|port| port["name"] == it["port"]);
        if !list(&spec["endpoints"]).all(there) {
            wrong.push("scrapes a port that is not there".to_owned());
        }
    }
    wrong
}
