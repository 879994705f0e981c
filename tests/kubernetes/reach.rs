//! What the policies of the network have to let through, so that the roles can work.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::rendered::{list, of, pods, selects, text};

/// Where the cluster's own names are served.
const NAMES: &str = "kube-system";
/// What is reached by its address on any cluster.
const ANYWHERE: [(&str, [u8; 4], u16, &str); 1] = [("HTTPS", [8, 8, 8, 8], 443, "TCP")];
/// The same on GKE. Its metadata server has one address before it is translated, and another after that.
const GKE: [(&str, [u8; 4], u16, &str); 6] = [
    ("the metadata server", [169, 254, 169, 254], 80, "TCP"),
    ("the metadata server", [169, 254, 169, 252], 988, "TCP"),
    ("Cloud DNS", [169, 254, 169, 254], 53, "TCP"),
    ("Cloud DNS", [169, 254, 169, 254], 53, "UDP"),
    ("NodeLocal DNSCache", [169, 254, 20, 10], 53, "TCP"),
    ("NodeLocal DNSCache", [169, 254, 20, 10], 53, "UDP"),
];
/// Namespaces of the collectors that scrape.
const COLLECTORS: [&str; 2] = ["gmp-system", "gke-gmp-system"];

/// A direction, as a policy has it: its type, its rules, and the peers of one.
type Direction = [&'static str; 3];
const EGRESS: Direction = ["Egress", "egress", "to"];
const INGRESS: Direction = ["Ingress", "ingress", "from"];

/// What the pods cannot reach, and who cannot reach them.
pub(crate) fn shut(objects: &[Value]) -> Vec<String> {
    pods(objects).flat_map(|it| shut_for(objects, it)).collect()
}

fn shut_for(objects: &[Value], pod: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for protocol in ["TCP", "UDP"] {
        let names = |it: &Value| takes_in(&it["namespaceSelector"], NAMES);
        if !passes(objects, pod, EGRESS, names, &json!(53), protocol) {
            wrong.push(format!("cannot reach {NAMES} by 53/{protocol}"));
        }
    }
    let is_gke = of(objects, "ServiceAccount")
        .any(|it| it["metadata"]["annotations"]["iam.gke.io/gcp-service-account"].is_string());
    let more = GKE.iter().filter(|_| is_gke);
    for (what, address, port, protocol) in ANYWHERE.iter().chain(more) {
        let address = Ipv4Addr::from(*address);
        let there = |it: &Value| covers(&it["ipBlock"], address);
        if !passes(objects, pod, EGRESS, there, &json!(port), protocol) {
            wrong.push(format!("cannot reach {what} at {address} by {port}/{protocol}"));
        }
    }
    let scraped = of(objects, "PodMonitoring")
        .filter(|it| selects(&it["spec"]["selector"], &pod["metadata"]["labels"]));
    for endpoint in scraped.flat_map(|it| list(&it["spec"]["endpoints"])) {
        for namespace in COLLECTORS {
            let collector = |it: &Value| takes_in(&it["namespaceSelector"], namespace);
            if !passes(objects, pod, INGRESS, collector, &endpoint["port"], "TCP") {
                wrong.push(format!("cannot be scraped from {namespace}"));
            }
        }
    }
    wrong
}

/// Whether any policy of a pod lets through what goes to a peer, or comes from it, by that port.
fn passes(
    objects: &[Value],
    pod: &Value,
    [kind, rules, peers]: Direction,
    is_peer: impl Fn(&Value) -> bool,
    port: &Value,
    protocol: &str,
) -> bool {
    let policies = of(objects, "NetworkPolicy").map(|it| &it["spec"]).filter(|it| {
        selects(&it["podSelector"], &pod["metadata"]["labels"])
            && list(&it["policyTypes"]).any(|it| it == kind)
    });
    let is_port = |it: &Value| it["port"] == *port && it["protocol"] == protocol;
    policies
        .flat_map(|it| list(&it[rules]))
        .any(|it| list(&it[peers]).any(&is_peer) && list(&it["ports"]).any(is_port))
}

/// Whether a selector of namespaces selects that one.
fn takes_in(selector: &Value, namespace: &str) -> bool {
    let name = "kubernetes.io/metadata.name";
    let is_listed = |it: &Value| {
        it["key"] == name && it["operator"] == "In" && list(&it["values"]).any(|it| it == namespace)
    };
    selector["matchLabels"][name] == namespace || list(&selector["matchExpressions"]).any(is_listed)
}

/// Whether a block of addresses has that one.
fn covers(block: &Value, address: Ipv4Addr) -> bool {
    let has = |it: &Value| is_in(text(it), address);
    has(&block["cidr"]) && !list(&block["except"]).any(has)
}

fn is_in(network: &str, address: Ipv4Addr) -> bool {
    let (network, bits) = network.split_once('/').unwrap_or_default();
    let (Ok(network), Ok(bits)) = (network.parse::<Ipv4Addr>(), bits.parse::<u32>()) else {
        return false;
    };
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or_default();
    (network.to_bits() ^ address.to_bits()) & mask == 0
}
