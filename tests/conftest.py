"""What several rooms' tests share."""

import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A busy machine must not fail a property for its slowness.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def ray_folder() -> Iterator[None]:
    """A folder for what every Ray of these tests leaves behind; sockets in it ask for a short path."""
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


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
