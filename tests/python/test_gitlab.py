"""The embedded GitLab, driven by python-gitlab.

Everything that a case needs it makes itself, through GitLab's own API.
"""

import os
import uuid

import gitlab
import pytest

FILES = {"README.md": "# Iris\n", "data/iris.csv": "5.1,3.5\n"}


@pytest.fixture(scope="module")
def client():
    client = gitlab.Gitlab(
        os.environ["BRANCHLINE_GITLAB_ENDPOINT"],
        private_token=os.environ["BRANCHLINE_GITLAB_TOKEN"],
    )
    client.auth()
    return client


@pytest.fixture
def project(client):
    """A project with a file on `main` and one more commit on `feature`."""
    project = client.projects.create(
        {"name": f"iris-{uuid.uuid4().hex[:12]}", "initialize_with_readme": True}
    )
    project.commits.create(
        {
            "branch": "feature",
            "start_branch": "main",
            "commit_message": "Add the data",
            "actions": [
                {"action": "update" if path == "README.md" else "create", "file_path": path, "content": content}
                for path, content in FILES.items()
            ],
        }
    )
    return project


@pytest.fixture
def commit(project):
    return project.commits.get("feature")


@pytest.fixture
def merge_request(project):
    return project.mergerequests.create(
        {"source_branch": "feature", "target_branch": "main", "title": "Feature"}
    )


def refusal(call, *args, **kwargs):
    with pytest.raises(gitlab.GitlabError) as caught:
        call(*args, **kwargs)
    return caught.value.response_code, caught.value.error_message


def test_the_caller_is_a_bot(client):
    assert client.user.username
    assert client.users.get(client.user.id).username == client.user.username


def test_an_unknown_token_is_refused(client):
    stranger = gitlab.Gitlab(client.url, private_token="glpat-unknown")
    with pytest.raises(gitlab.GitlabAuthenticationError):
        stranger.auth()


def test_a_project_is_found_by_id_and_by_path(client, project):
    path = project.path_with_namespace
    assert client.projects.get(path).id == project.id
    assert client.projects.get(project.id).path_with_namespace == path
    assert refusal(client.projects.get, "no/such") == (404, "404 Project Not Found")


def test_the_default_branch_is_protected(project):
    assert project.branches.get("main").protected
    assert not project.branches.get("feature").protected


def test_a_commit_has_the_files_of_its_branch(project, commit):
    assert commit.id.startswith(commit.short_id) and len(commit.id) == 40
    assert commit.parent_ids == [project.commits.get("main").id]
    for path, content in FILES.items():
        assert project.files.raw(file_path=path, ref=commit.id).decode() == content


def test_a_status_goes_from_pending_to_success_in_one_row(project, commit):
    for state in ["pending", "running", "success"]:
        status = commit.statuses.create({"state": state, "name": "branchline/iris"})
        assert status.status == state
    rows = commit.statuses.list(get_all=True)
    assert [(row.name, row.status, row.ref) for row in rows] == [
        ("branchline/iris", "success", "feature")
    ]
    pipeline = project.pipelines.get(rows[0].pipeline_id)
    assert (pipeline.source, pipeline.sha, pipeline.status) == ("external", commit.id, "success")
    assert pipeline.jobs.list(get_all=True) == []


def test_the_same_state_twice_is_refused_and_changes_nothing(commit):
    commit.statuses.create({"state": "running", "description": "one"})
    code, message = refusal(commit.statuses.create, {"state": "running", "description": "two"})
    assert code == 400
    assert message == (
        "Cannot transition status via :run from :running "
        '(Reason(s): Status cannot transition via "run")'
    )
    assert [row.description for row in commit.statuses.list(get_all=True)] == ["one"]


def test_a_state_after_the_end_is_a_new_row(commit):
    commit.statuses.create({"state": "failed"})
    commit.statuses.create({"state": "running"})
    assert [row.status for row in commit.statuses.list(get_all=True)] == ["running"]
    everything = commit.statuses.list(get_all=True, query_parameters={"all": "true"})
    assert sorted(row.status for row in everything) == ["failed", "running"]


def test_a_bad_target_url_is_refused(commit):
    code, message = refusal(commit.statuses.create, {"state": "success", "target_url": "ftp://h/x"})
    assert code == 400
    assert message == {"target_url": ["is blocked: Only allowed schemes are http, https"]}


def test_a_pipeline_of_another_ref_is_not_found(commit):
    first = commit.statuses.create({"state": "running"})
    values = {"state": "success", "pipeline_id": first.pipeline_id, "ref": "main"}
    expected = (404, "404 Pipeline for pipeline_id, sha and ref Not Found")
    assert refusal(commit.statuses.create, values) == expected


def test_a_commit_knows_its_merge_requests(commit, merge_request):
    found = [it["iid"] for it in commit.merge_requests(state="opened")]
    assert found == [merge_request.iid]
    assert commit.merge_requests(state="merged") == []
    merge_request.merge()
    assert [it["state"] for it in commit.merge_requests()] == ["merged"]


def test_a_merge_request_is_closed_and_reopened(project, merge_request):
    merge_request.state_event = "close"
    merge_request.save()
    assert project.mergerequests.get(merge_request.iid).state == "closed"
    merge_request.state_event = "reopen"
    merge_request.save()
    opened = project.mergerequests.list(state="opened", source_branch="feature", get_all=True)
    assert [it.iid for it in opened] == [merge_request.iid]


def test_notes_are_listed_page_by_page(merge_request):
    bodies = [f"note {number}" for number in range(7)]
    for body in bodies:
        merge_request.notes.create({"body": body})
    listed = merge_request.notes.list(
        iterator=True, per_page=3, order_by="created_at", sort="asc"
    )
    assert listed.total == 7 and listed.total_pages == 3
    assert [note.body for note in listed] == bodies


def test_a_note_is_edited_and_deleted(client, merge_request):
    note = merge_request.notes.create({"body": "one é\n\n| a | b |"})
    assert note.author["username"] == client.user.username
    note.body = "two"
    note.save()
    assert merge_request.notes.get(note.id).body == "two"
    note.delete()
    assert refusal(merge_request.notes.get, note.id) == (404, "404 Note Not Found")


def test_answers_tell_the_rate_limit(client):
    headers = client.http_request("get", "/version").headers
    for name in ["Limit", "Name", "Observed", "Remaining", "Reset"]:
        assert headers[f"RateLimit-{name}"]


def test_what_is_not_served_is_not_found(client, project):
    assert refusal(client.http_get, f"/projects/{project.id}/nonsense") == (404, "404 Not Found")
