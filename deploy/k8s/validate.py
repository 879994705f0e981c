"""Holds rendered manifests against schemas, strictly.

Kubernetes' own kinds against those of the release given, custom resources against `schemas`. One
without a schema is an error. With --filled-in, so is a word that stands for something of yours, and a
digest that cannot be one.
"""

import json
import pathlib
import re
import sys

import jsonschema
import kubernetes_validate
import yaml

SCHEMAS = pathlib.Path(__file__).parent / "schemas"
STANDS_FOR_YOURS = re.compile(r"(?<![A-Z_])(?:PROJECT|GROUP|DIGEST)(?![A-Z_])")
NO_DIGEST = re.compile(r"@sha256:(?![0-9a-f]{64}\s)\S*")


def wrong(resource, release):
    """What is wrong with a resource, or nothing."""
    try:
        kubernetes_validate.validate(resource, release, strict=True)
        return None
    except kubernetes_validate.SchemaNotFoundError:
        name = f"{resource['apiVersion'].replace('/', '.')}.{resource['kind']}.json"
        if not (SCHEMAS / name).exists():
            return f"there is no schema for it: {SCHEMAS.name}/{name}"
        schema = json.loads((SCHEMAS / name).read_text())
        error = jsonschema.Draft202012Validator(schema)
        error = jsonschema.exceptions.best_match(error.iter_errors(resource))
    except kubernetes_validate.ValidationError as refused:
        error = refused
    return error and f"{'.'.join(str(it) for it in error.path)}: {error.message}"


def main(path, release, *more):
    text = pathlib.Path(path).read_text()
    resources = [it for it in yaml.safe_load_all(text) if it]
    found = [(it, wrong(it, release)) for it in resources]
    errors = [f"{it['kind']} {it['metadata']['name']}: {error}" for it, error in found if error]
    if "--filled-in" in more:
        words = sorted(set(STANDS_FOR_YOURS.findall(text)))
        errors += [f"not filled in yet: {', '.join(words)}"] * bool(words)
        errors += [f"not 64 hex digits: {it}" for it in sorted(set(NO_DIGEST.findall(text)))]
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if not resources:
        sys.exit("error: nothing was rendered")
    print(f"{len(resources)} resources, {len(errors)} errors against Kubernetes {release}")
    sys.exit(bool(errors))


main(*sys.argv[1:])
