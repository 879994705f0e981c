"""The client and the bucket that the cases of Cloud Storage share."""

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage


@pytest.fixture(scope="session")
def client(storage_emulator_host):
    return storage.Client(project="conformance", credentials=AnonymousCredentials())


@pytest.fixture
def bucket(client, unique):
    return client.create_bucket(unique)
