"""Writes rendered manifests as Kubernetes 1.20 knows them, and says what that changes.

older.py MANIFESTS DIRECTORY: manifests.yaml, and definitions.yaml of the custom resources in it. Whatever else that
release does not know stays as it is, for its API server to refuse.
"""

import pathlib
import sys

import yaml

# The same fields, before they were stable.
VERSIONS = {
    ("PodDisruptionBudget", "policy/v1"): "policy/v1beta1",
    ("HorizontalPodAutoscaler", "autoscaling/v2"): "autoscaling/v2beta2",
}
OWN_GROUPS = ("", "apps", "autoscaling", "networking.k8s.io", "policy")


def older(resource):
    """Changes a resource, and yields how."""
    kind, version = resource["kind"], resource["apiVersion"]
    if (kind, version) in VERSIONS:
        resource["apiVersion"] = VERSIONS[kind, version]
        yield f"{version} {kind} as {resource['apiVersion']}"
    if kind == "PodDisruptionBudget" and resource["spec"].pop("unhealthyPodEvictionPolicy", None):
        yield "without unhealthyPodEvictionPolicy (since 1.26)"
    if kind == "Deployment":
        for spread in resource["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            if spread.pop("matchLabelKeys", None):
                yield "without matchLabelKeys (since 1.25)"


def definition(group, version, kind):
    """A custom resource with any content: `validate.py` knows what may be in it."""
    plural = f"{kind.lower()}s" if not kind.endswith("s") else f"{kind.lower()}es"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def main(path, directory):
    resources = [it for it in yaml.safe_load_all(pathlib.Path(path).read_text()) if it]
    kinds = {(*it["apiVersion"].rpartition("/")[::2], it["kind"]) for it in resources}
    changes = {it for resource in resources for it in older(resource)}
    custom = [definition(*it) for it in sorted(kinds) if it[0] not in OWN_GROUPS]
    for name, content in (("manifests", resources), ("definitions", custom)):
        text = yaml.safe_dump_all(content) if content else ""
        (pathlib.Path(directory) / f"{name}.yaml").write_text(text)
    for change in sorted(changes):
        print(f"for 1.20: {change}")


main(*sys.argv[1:])
