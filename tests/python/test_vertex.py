"""The embedded Vertex AI, driven by google-cloud-aiplatform over REST."""

import time

import pytest
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.aiplatform_v1 import (
    CustomJob,
    HyperparameterTuningJob,
    JobServiceClient,
    JobState,
    ListPipelineJobsRequest,
    PipelineJob,
    PipelineServiceClient,
    PipelineState,
    TrainingPipeline,
)
from google.protobuf import json_format, struct_pb2

PARENT = "projects/demo-project/locations/europe-west4"
DONE = {"SUCCEEDED", "FAILED", "CANCELLED"}
CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"


def options(vertex_endpoint):
    return {
        "transport": "rest",
        "credentials": AnonymousCredentials(),
        "client_options": ClientOptions(api_endpoint=vertex_endpoint),
    }


@pytest.fixture(scope="session")
def jobs(vertex_endpoint):
    return JobServiceClient(**options(vertex_endpoint))


@pytest.fixture(scope="session")
def pipelines(vertex_endpoint):
    return PipelineServiceClient(**options(vertex_endpoint))


@pytest.fixture
def bucket(storage_emulator_host, unique):
    client = storage.Client(
        project="demo-project",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": storage_emulator_host},
    )
    return client.create_bucket(unique)


def spec(script, output=None):
    spec = {
        "worker_pool_specs": [
            {
                "machine_spec": {"machine_type": "n1-standard-4"},
                "replica_count": 1,
                "container_spec": {"image_uri": "image", "command": ["sh", "-euc", script, "sh"]},
            }
        ]
    }
    if output:
        spec["base_output_directory"] = {"output_uri_prefix": output}
    return spec


def custom_job(script, labels=None, output=None):
    return CustomJob(display_name="train", labels=labels, job_spec=spec(script, output))


def end(get, name):
    """Waits until the job has ended."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        job = get(name=name)
        if job.state.name.rsplit("_", 1)[-1] in DONE:
            return job
        time.sleep(0.02)
    raise AssertionError(f"still {job.state.name}: {name}")


def test_a_custom_job_leaves_its_model_in_the_bucket(jobs, bucket):
    bucket.blob("data/iris.csv").upload_from_string("5.1,3.5\n")
    script = """
        model="$CLOUD_STORAGE_MOUNT/${AIP_MODEL_DIR#gs://}"
        mkdir -p "$model"
        cp "$1" "$model/model.txt"
    """
    job = custom_job(script, output=f"gs://{bucket.name}/out")
    job.job_spec.worker_pool_specs[0].container_spec.args.append(f"/gcs/{bucket.name}/data/iris.csv")
    created = jobs.create_custom_job(parent=PARENT, custom_job=job)
    assert created.name.split("/")[1].isdigit() and created.name.split("/")[-1].isdigit()
    ended = end(jobs.get_custom_job, created.name)
    assert ended.state == JobState.JOB_STATE_SUCCEEDED
    assert ended.create_time <= ended.start_time <= ended.end_time
    assert bucket.blob("out/model/model.txt").download_as_text() == "5.1,3.5\n"


def test_a_failed_job_says_how(jobs):
    created = jobs.create_custom_job(parent=PARENT, custom_job=custom_job("exit 3"))
    ended = end(jobs.get_custom_job, created.name)
    assert ended.state == JobState.JOB_STATE_FAILED
    assert ended.error.message.startswith(
        "The replica workerpool0-0 exited with a non-zero status of 3."
    )


def test_a_job_is_cancelled_and_deleted(jobs):
    created = jobs.create_custom_job(parent=PARENT, custom_job=custom_job("exec sleep 60"))
    with pytest.raises(exceptions.BadRequest, match="has not ended"):
        jobs.delete_custom_job(name=created.name)
    jobs.cancel_custom_job(name=created.name)
    ended = end(jobs.get_custom_job, created.name)
    assert (ended.state, ended.error.code) == (JobState.JOB_STATE_CANCELLED, 1)
    jobs.delete_custom_job(name=created.name).result(timeout=5)
    with pytest.raises(exceptions.NotFound):
        jobs.get_custom_job(name=created.name)


def test_a_list_is_filtered_and_paged(jobs, unique):
    names = [
        jobs.create_custom_job(parent=PARENT, custom_job=custom_job("true", {"run": unique})).name
        for _ in range(5)
    ]
    for name in names:
        end(jobs.get_custom_job, name)
    request = {"parent": PARENT, "filter": f"labels.run={unique}", "page_size": 2}
    pages = list(jobs.list_custom_jobs(request=request).pages)
    assert [len(page.custom_jobs) for page in pages] == [2, 2, 1]
    assert [job.name for page in pages for job in page.custom_jobs] == names[::-1]
    request["filter"] += ' AND state="JOB_STATE_FAILED"'
    assert list(jobs.list_custom_jobs(request=request)) == []


def test_what_cannot_be_run_is_refused_by_field(jobs):
    with pytest.raises(exceptions.BadRequest, match="job_spec.worker_pool_specs"):
        jobs.create_custom_job(parent=PARENT, custom_job=CustomJob(display_name="x", job_spec={}))
    with pytest.raises(exceptions.BadRequest, match="mars-north1"):
        jobs.create_custom_job(
            parent="projects/demo-project/locations/mars-north1", custom_job=custom_job("true")
        )


def test_a_tuning_job_measures_its_trials(jobs):
    script = """
        for arg; do case "$arg" in --lr=*) lr="${arg#--lr=}";; esac; done
        printf '{"timestamp": 1.5, "trial": "%s", "accuracy": "%s", "global_step": "3"}\\n' \
            "$CLOUD_ML_TRIAL_ID" "$lr" > "$CLOUD_ML_HP_METRIC_FILE"
    """
    job = HyperparameterTuningJob(
        display_name="hp",
        max_trial_count=3,
        parallel_trial_count=2,
        study_spec={
            "metrics": [{"metric_id": "accuracy", "goal": "MAXIMIZE"}],
            "parameters": [
                {
                    "parameter_id": "lr",
                    "double_value_spec": {"min_value": 0.001, "max_value": 0.1},
                    "scale_type": "UNIT_LOG_SCALE",
                }
            ],
        },
        trial_job_spec=spec(script),
    )
    created = jobs.create_hyperparameter_tuning_job(
        parent=PARENT, hyperparameter_tuning_job=job
    )
    ended = end(jobs.get_hyperparameter_tuning_job, created.name)
    assert ended.state == JobState.JOB_STATE_SUCCEEDED
    assert [trial.id for trial in ended.trials] == ["1", "2", "3"]
    for trial in ended.trials:
        assert trial.state.name == "SUCCEEDED"
        assert trial.final_measurement.metrics[0].value == trial.parameters[0].value
        assert trial.final_measurement.step_count == 3


def test_a_training_pipeline_names_its_model(pipelines):
    inputs = json_format.ParseDict(spec("true"), struct_pb2.Value())
    pipeline = TrainingPipeline(
        display_name="tp",
        training_task_definition=CUSTOM_TASK,
        training_task_inputs=inputs,
        model_to_upload={"display_name": "iris"},
    )
    created = pipelines.create_training_pipeline(parent=PARENT, training_pipeline=pipeline)
    ended = end(pipelines.get_training_pipeline, created.name)
    assert ended.state == PipelineState.PIPELINE_STATE_SUCCEEDED
    assert "/models/" in ended.model_to_upload.name


def pipeline_job(bucket, script):
    """One task with a parameter, an output parameter and metrics."""
    pipeline_spec = {
        "pipelineInfo": {"name": "iris"},
        "schemaVersion": "2.1.0",
        "root": {
            "inputDefinitions": {"parameters": {"epochs": {"parameterType": "NUMBER_INTEGER"}}},
            "dag": {
                "tasks": {
                    "train": {
                        "componentRef": {"name": "comp-train"},
                        "inputs": {
                            "parameters": {"epochs": {"componentInputParameter": "epochs"}}
                        },
                    }
                }
            },
        },
        "components": {
            "comp-train": {
                "executorLabel": "exec-train",
                "inputDefinitions": {"parameters": {"epochs": {"parameterType": "NUMBER_INTEGER"}}},
                "outputDefinitions": {
                    "parameters": {"rows": {"parameterType": "NUMBER_INTEGER"}},
                    "artifacts": {
                        "metrics": {"artifactType": {"schemaTitle": "system.Metrics"}},
                    },
                },
            }
        },
        "deploymentSpec": {
            "executors": {
                "exec-train": {
                    "container": {
                        "image": "image",
                        "command": ["sh", "-euc", script, "train"],
                        "args": [
                            "{{$.inputs.parameters['epochs']}}",
                            "{{$.outputs.parameters['rows'].output_file}}",
                            "{{$.outputs.output_file}}",
                        ],
                    }
                }
            }
        },
    }
    return PipelineJob(
        display_name="pj",
        pipeline_spec=json_format.ParseDict(pipeline_spec, struct_pb2.Struct()),
        runtime_config={
            "gcs_output_directory": f"gs://{bucket.name}/root",
            "parameter_values": {"epochs": struct_pb2.Value(number_value=7)},
        },
    )


REPORT = """
    printf 150 > "$2"
    printf '{"artifacts": {"metrics": {"artifacts": [{"metadata": {"epochs": %s}}]}}}' "$1" > "$3"
"""


def test_a_pipeline_job_reports_its_tasks(pipelines, bucket, unique):
    created = pipelines.create_pipeline_job(
        parent=PARENT, pipeline_job=pipeline_job(bucket, REPORT), pipeline_job_id=unique
    )
    assert created.name.endswith(f"/pipelineJobs/{unique}")
    ended = end(pipelines.get_pipeline_job, created.name)
    assert ended.state == PipelineState.PIPELINE_STATE_SUCCEEDED
    (task,) = ended.job_detail.task_details
    assert (task.task_name, task.state.name) == ("train", "SUCCEEDED")
    assert task.execution.metadata["output:rows"] == 150
    (metrics,) = task.outputs["metrics"].artifacts
    assert (metrics.schema_title, dict(metrics.metadata)) == ("system.Metrics", {"epochs": 7})


def test_a_pipeline_job_id_is_used_once(pipelines, bucket, unique):
    job = pipeline_job(bucket, REPORT)
    created = pipelines.create_pipeline_job(parent=PARENT, pipeline_job=job, pipeline_job_id=unique)
    with pytest.raises(exceptions.Conflict, match="already exists"):
        pipelines.create_pipeline_job(parent=PARENT, pipeline_job=job, pipeline_job_id=unique)
    end(pipelines.get_pipeline_job, created.name)


def test_a_failed_task_fails_its_pipeline(pipelines, bucket, unique):
    created = pipelines.create_pipeline_job(
        parent=PARENT, pipeline_job=pipeline_job(bucket, "exit 1"), pipeline_job_id=unique
    )
    ended = end(pipelines.get_pipeline_job, created.name)
    assert ended.state == PipelineState.PIPELINE_STATE_FAILED
    assert "[train]" in ended.error.message
    request = ListPipelineJobsRequest(
        parent=PARENT, filter='state="PIPELINE_STATE_FAILED"', order_by="create_time desc"
    )
    assert created.name in [job.name for job in pipelines.list_pipeline_jobs(request=request)]
