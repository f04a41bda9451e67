"""What several rooms' tests share."""

import os
import signal
import socket
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Properties are tried with the same examples everywhere, so that what fails has been changed;
# `make properties` looks for new ones. A busy machine must not fail a property for its slowness.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1_000)
settings.load_profile("suite")


# A shell that starts the suite in the background has it ignore interrupts, and all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Processes of tests share the cores: PyTorch's threads would mostly wait for each other, and busily.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Hide a GPU from all tests but those that ask for one, which run by themselves (`make gpu`)."""
    if not any("gpu" in argument for argument in config.args):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


# What several files of tests look at, by fixture: made once, in the process that runs all of these tests.
SHARED = {
    "training runs": {"alone", "model", "runs", "stage_0", "stage_3"},
    "builds": {"built_in_six", "six_partitions"},
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests for `--dist loadgroup`: by file, but together all that look at the same runs.

    Slow ones go first, so that none is left to run alone at the end.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        names = [name for name, fixtures in SHARED.items() if fixtures & used]
        item.add_marker(pytest.mark.xdist_group(names[0] if names else str(item.path)))


@pytest.fixture(scope="session", autouse=True)
def ray_folder() -> Iterator[None]:
    """A folder for what every Ray of these tests leaves behind; sockets in it ask for a short path."""
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Where tests that want an S3 server put it: Ray's workers have to know before they start.
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")  # the client library's; s3fs and Ray try again above it
        yield


def free_port() -> int:
    """Return a port on loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_ports() -> list[int]:
    """A few ports on loopback that nobody listens at."""
    return [free_port() for _ in range(4)]


@pytest.fixture(scope="session")
def ray(ray_folder: None) -> Iterator[None]:
    """A local Ray with two cores, for the whole session."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=128 * 2**20,
    )
    yield
    ray.shutdown()
