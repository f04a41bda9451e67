"""What the integration tests share: an S3 server behind a line that can be cut."""

import os
from collections.abc import Iterator

import pytest
from bad_line import Line, s3_behind_a_line


@pytest.fixture(scope="session")
def s3_server(ray_folder: None) -> Iterator[Line]:
    """An S3 server in a process of its own, at the address that `AWS_ENDPOINT_URL` names."""
    with s3_behind_a_line(int(os.environ["AWS_ENDPOINT_URL"].rsplit(":", 1)[1])) as line:
        yield line


@pytest.fixture
def s3(s3_server: Line, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket of the test's own."""
    from pipeline.runner import storage

    bucket = f"s3://{request.node.name.replace('_', '-')[:60].strip('-')}"
    filesystem, path = storage.locate(bucket)
    filesystem.mkdir(path)
    yield bucket
    s3_server.heal()
