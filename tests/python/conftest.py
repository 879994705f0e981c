"""Where the stack listens, read from the `export` lines that it prints.

A test that needs an endpoint which is not exported fails; nothing is skipped.
"""

import os
import uuid

import pytest


def exported(name):
    value = os.environ.get(name)
    if not value:
        pytest.fail(
            f"{name} is not set: start `branchline local` and export the lines it prints",
            pytrace=False,
        )
    return value


@pytest.fixture(scope="session")
def pubsub_emulator_host():
    return exported("PUBSUB_EMULATOR_HOST")


@pytest.fixture(scope="session")
def storage_emulator_host():
    return exported("STORAGE_EMULATOR_HOST")


@pytest.fixture(scope="session")
def vertex_endpoint():
    return exported("BRANCHLINE_VERTEX_ENDPOINT")


@pytest.fixture(scope="session")
def logging_endpoint():
    return exported("BRANCHLINE_LOGGING_ENDPOINT")


@pytest.fixture(scope="session")
def gitlab_endpoint():
    return exported("BRANCHLINE_GITLAB_ENDPOINT")


@pytest.fixture(scope="session")
def gitlab_token():
    return exported("BRANCHLINE_GITLAB_TOKEN")


@pytest.fixture
def unique():
    """A short name that no other test uses: the stack may be shared."""
    return f"t{uuid.uuid4().hex[:12]}"


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
