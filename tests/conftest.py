"""What several rooms' tests share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A busy machine must not fail a property for its slowness.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def ray() -> Iterator[None]:
    """A local Ray with two cores, for the whole session."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
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
