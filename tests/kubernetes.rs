//! The manifests of `deploy/k8s`, as kustomize renders them: what they promise about every pod,
//! and that the roles take the configuration in them.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

#[path = "kubernetes/configuration.rs"]
mod configuration;
#[path = "kubernetes/laws.rs"]
mod laws;
#[path = "kubernetes/pods.rs"]
mod pods;
#[path = "kubernetes/policy.rs"]
mod policy;
#[path = "kubernetes/reach.rs"]
mod reach;
#[path = "kubernetes/rendered.rs"]
mod rendered;

use laws::broken;
use rendered::{of, parsed, rendered};

#[test]
fn every_overlay_keeps_every_law() {
    for overlay in ["gke", "local"] {
        let Some(text) = rendered(overlay) else { return };
        assert_eq!(broken(&parsed(&text)), Vec::<String>::new(), "{overlay}");
    }
}

#[test]
fn gke_has_what_only_gke_can_have() {
    let Some(text) = rendered("gke") else { return };
    let objects = parsed(&text);
    let count = |kind: &str| of(&objects, kind).count();
    let kinds = ["Deployment", "HorizontalPodAutoscaler", "PodMonitoring", "SecretProviderClass"];
    assert_eq!(kinds.map(count), [2, 1, 1, 2]);
    for account in of(&objects, "ServiceAccount") {
        let google = &account["metadata"]["annotations"]["iam.gke.io/gcp-service-account"];
        assert!(google.is_string(), "{account}");
    }
}

/// One manifest each that breaks one law, and what is said of it.
const BREAKS: [(&str, &str, &str); 59] = [
    ("runAsNonRoot: true", "runAsNonRoot: false", "runs as root"),
    ("runAsUser: 65532", "runAsUser: 0", "runs as root"),
    ("type: RuntimeDefault", "type: Unconfined", "seccomp"),
    ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "writes to its root"),
    ("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "gain privileges"),
    ("            - ALL\n", "            - NET_RAW\n", "capabilities"),
    ("            drop:\n", "            add: [NET_ADMIN]\n            drop:\n", "capabilities"),
    (
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: true\n          privileged: true",
        "privileged",
    ),
    ("      enableServiceLinks: false", "      hostNetwork: true", "the node's"),
    ("- configMap:\n          name:", "- hostPath:\n          path:", "hostPath"),
    (
        "automountServiceAccountToken: false",
        "automountServiceAccountToken: true",
        "Kubernetes' token",
    ),
    ("            memory: 512Mi\n", "", "limits.memory"),
    ("            cpu: 100m\n", "", "requests.cpu"),
    ("        startupProbe:", "        oddProbe:", "startupProbe"),
    ("            path: /readyz", "            path: /livez", "readinessProbe asks"),
    (
        "        livenessProbe:\n          httpGet:\n            path: /livez",
        "        livenessProbe:\n          httpGet:\n            path: /readyz",
        "livenessProbe asks",
    ),
    ("            port: http", "            port: metrics", "which it does not have"),
    ("@sha256:DIGEST", "", "image"),
    ("@sha256:DIGEST", ":latest", "image"),
    ("terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 29", "drain"),
    ("worker.yaml: |\n", "worker.yaml: |\n    consume: {grace: 36s}\n", "drain"),
    ("maxUnavailable: 0", "maxUnavailable: 1", "rollout"),
    ("minReadySeconds: 15", "minReadySeconds: 0", "rollout"),
    ("serviceAccountName: worker", "serviceAccountName: default", "service account"),
    (
        "iam.gke.io/gcp-service-account: branchline-worker@",
        "iam.gke.io/gcp-service-account: branchline-notifier@",
        "Workload Identity",
    ),
    (
        "unhealthyPodEvictionPolicy: AlwaysAllow",
        "unhealthyPodEvictionPolicy: IfHealthyBudget",
        "disruption",
    ),
    ("kind: PodDisruptionBudget", "kind: PodDisruption", "disruption"),
    ("topologyKey: kubernetes.io/hostname", "topologyKey: kubernetes.io/host", "spread"),
    ("  podSelector: {}\n", "  podSelector: {matchLabels: {a: b}}\n", "by default"),
    ("  - Ingress\n  - Egress\n", "  - Egress\n", "by default"),
    ("  - from:\n", "  - {}\n  - from:\n", "anybody"),
    ("    path: /metrics\n    port: http", "    port: metrics", "scrapes a port"),
    ("    - port: 443\n", "    - port: 22\n", "anywhere"),
    ("- port: 53\n      protocol: TCP", "- port: 53\n      protocol: SCTP", "by 53/TCP"),
    ("- port: 53\n      protocol: UDP", "- port: 53\n      protocol: SCTP", "by 53/UDP"),
    ("metadata.name: kube-system", "metadata.name: kube-dns", "reach kube-system"),
    ("cidr: 169.254.20.10/32", "cidr: 169.254.20.11/32", "reach NodeLocal DNSCache"),
    ("    - port: 80\n", "    - port: 81\n", "reach the metadata server at 169.254.169.254"),
    ("    - port: 988\n", "    - port: 989\n", "reach the metadata server at 169.254.169.252"),
    ("cidr: 0.0.0.0/0", "cidr: 10.0.0.0/8", "reach HTTPS"),
    (
        "        - 192.168.0.0/16\n",
        "        - 192.168.0.0/16\n        - 8.0.0.0/8\n",
        "reach HTTPS",
    ),
    ("          - gke-gmp-system\n", "", "be scraped from gke-gmp-system"),
    (
        "    - port: http\n      protocol: TCP",
        "    - port: 8080\n      protocol: TCP",
        "be scraped",
    ),
    ("enforce: restricted", "enforce: privileged", "lets any pod in"),
    ("  name: worker-", "  name: worker", "no hash"),
    ("kind: PodMonitoring", "kind: Secret", "Secret"),
    (
        "        - name: BRANCHLINE_GITLAB_TOKEN_FILE\n",
        "        - name: BRANCHLINE_GITLAB_TOKEN\n",
        "has a token",
    ),
    (
        "            secretProviderClass: worker",
        "            secretProviderClass: wroker",
        "no SecretProviderClass",
    ),
    (
        "- configMap:\n          name: worker-",
        "- configMap:\n          name: wroker-",
        "no ConfigMap",
    ),
    (
        "resource.labels.subscription_id: artifact-ready-worker",
        "resource.labels.subscription_id: artifact-ready",
        "autoscaler",
    ),
    (
        "    kind: Deployment\n    name: worker\n",
        "    kind: Deployment\n    name: wroker\n",
        "autoscaler",
    ),
    ("resource.labels.project_id: PROJECT", "resource.labels.project_id: other", "autoscaler"),
    ("    - mountPath: /var/run/branchline\n", "    - mountPath: /elsewhere\n", "does not agree"),
    ("    gitlab: https://gitlab.com\n", "", "does not agree"),
    ("  namespace: branchline\n", "  namespace: other\n", "in no namespace"),
    ("name: branchline\n  policyTypes", "name: other\n  policyTypes", "not about every pod"),
    (
        "port: http\n  selector:\n    matchLabels:\n      app",
        "port: http\n  selector:\n    matchLabels:\n      b",
        "does not scrape",
    ),
    ("  progressDeadlineSeconds: 300\n  selector", "  replicas: 3\n  selector", "both count"),
    (
        "  selector:\n    matchLabels:\n      app.kubernetes.io/component: worker\n",
        "  selector:\n    matchLabels:\n      app.kubernetes.io/component: other\n",
        "its own pods",
    ),
];

#[test]
fn no_law_is_broken_unseen() {
    let Some(text) = rendered("gke") else { return };
    for (whole, part, said) in BREAKS {
        let changed = text.replace(whole, part);
        assert_ne!(changed, text, "{whole:?} is nowhere");
        let found = broken(&parsed(&changed));
        assert!(found.iter().any(|it| it.contains(said)), "{part:?}: {said:?} is not in {found:?}");
    }
}
