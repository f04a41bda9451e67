"""Settings of these tests."""

from hypothesis import settings

# A busy machine, or torch as it warms up, must not fail a property for its slowness.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
