"""The embedded Cloud Logging, driven by google-cloud-logging over JSON."""

import time

import pytest
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import logging
from google.cloud.aiplatform_v1 import CustomJob, JobServiceClient, JobState

PARENT = "projects/demo-project/locations/europe-west4"


@pytest.fixture(scope="session")
def client(logging_endpoint):
    return logging.Client(
        project="demo-project",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=logging_endpoint),
        _use_grpc=False,
    )


@pytest.fixture(scope="session")
def jobs(vertex_endpoint):
    return JobServiceClient(
        transport="rest",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=vertex_endpoint),
    )


def trained(jobs, script):
    """The id of a custom job that ran a script."""
    container = {"image_uri": "image", "command": ["sh", "-euc", script, "sh"]}
    pool = {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": 1,
        "container_spec": container,
    }
    job = CustomJob(display_name="train", job_spec={"worker_pool_specs": [pool]})
    name = jobs.create_custom_job(parent=PARENT, custom_job=job).name
    deadline = time.monotonic() + 20
    while jobs.get_custom_job(name=name).state != JobState.JOB_STATE_SUCCEEDED:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return name.rsplit("/", 1)[-1]


def test_what_a_job_prints_is_listed_by_its_id(client, jobs):
    job = trained(jobs, "echo one; sleep 0.1; echo two >&2")
    wanted = f'resource.type="ml_job" AND resource.labels.job_id="{job}"'
    entries = list(client.list_entries(filter_=wanted))
    assert [entry.payload for entry in entries] == ["one", "two"]
    assert [entry.severity for entry in entries] == ["INFO", "ERROR"]
    first, second = entries
    assert first.timestamp < second.timestamp
    assert first.received_timestamp >= first.timestamp
    assert first.insert_id != second.insert_id
    assert first.resource.type == "ml_job"
    assert first.resource.labels["task_name"] == "workerpool0-0"
    assert first.log_name.endswith("/logs/workerpool0-0")
    found = client.list_entries(filter_=f"{wanted} AND severity>=ERROR")
    assert [entry.payload for entry in found] == ["two"]


def test_pages_follow_one_another_in_either_order(client, jobs):
    job = trained(jobs, "for i in 1 2 3 4 5; do echo $i; done")
    wanted = f'resource.labels.job_id="{job}"'
    ascending = client.list_entries(filter_=wanted, page_size=2)
    assert [entry.payload for entry in ascending] == list("12345")
    descending = client.list_entries(filter_=wanted, page_size=2, order_by=logging.DESCENDING)
    assert [entry.payload for entry in descending] == list("54321")


def test_a_filter_that_is_not_understood_is_refused(client):
    with pytest.raises(exceptions.BadRequest, match="regular expressions"):
        list(client.list_entries(filter_='textPayload=~"a.*"'))
