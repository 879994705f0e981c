"""Writes vertex_fields.json: what a user may write in a Vertex AI job, field by field.

Run: pip install google-cloud-aiplatform && python vertex_fields.py > vertex_fields.json
"""

import inspect
import json
import re

import proto
from google.cloud.aiplatform_v1 import types

PACKAGE = "google.cloud.aiplatform.v1."
KINDS = ["CustomJob", "HyperparameterTuningJob", "PipelineJob", "TrainingPipeline"]
WELL_KNOWN = {
    "google.protobuf.BoolValue": "bool",
    "google.protobuf.Duration": "duration",
    "google.protobuf.Int32Value": "int32",
    "google.protobuf.ListValue": "list any",
    "google.protobuf.Struct": "object",
    "google.protobuf.Timestamp": "timestamp",
    "google.protobuf.Value": "any",
}
SCALARS = {1: "double", 2: "double", 3: "int64", 5: "int32", 8: "bool", 9: "string"}
MESSAGE, ENUM = 11, 14


def classes(owner):
    """The message classes of a module or class, by their name in the API."""
    for _, it in inspect.getmembers(owner, inspect.isclass):
        if issubclass(it, proto.Message) and it.__module__.startswith(types.__name__):
            name = it.pb().DESCRIPTOR.full_name
            yield name, it
            if owner is types or name.startswith(owner.pb().DESCRIPTOR.full_name + "."):
                yield from classes(it)


def output_only(cls):
    """The package drops field behaviour from its descriptors; its documentation keeps it."""
    found = re.findall(r"^ {8}(\w+) \([^)]*\):\n\s+Output\s+only\b", cls.__doc__ or "", re.M)
    return {it.rstrip("_") for it in found}


def type_of(field):
    if field.message_type and field.message_type.GetOptions().map_entry:
        return "map " + type_of(field.message_type.fields_by_name["value"])
    if field.type == MESSAGE:
        name = field.message_type.full_name
        one = WELL_KNOWN.get(name) or reach(name)
    elif field.type == ENUM:
        one = field.enum_type.full_name.removeprefix(PACKAGE)
        enums[one] = [it.name for it in field.enum_type.values]
    else:
        one = SCALARS[field.type]
    return f"list {one}" if field.is_repeated else one


def reach(name):
    short = name.removeprefix(PACKAGE)
    if short not in messages:
        messages[short] = {}  # Before its fields: some messages contain themselves.
        hidden = output_only(CLASSES[name])
        for field in CLASSES[name].pb().DESCRIPTOR.fields:
            kind = "output" if field.name in hidden else type_of(field)
            messages[short][field.json_name] = kind
    return short


CLASSES = dict(classes(types))
messages, enums = {}, {}
for kind in KINDS:
    reach(PACKAGE + kind)
print(json.dumps({"messages": messages, "enums": enums}, indent=2, sort_keys=True))
