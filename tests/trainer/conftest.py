"""Settings of these tests."""

import torch
from hypothesis import settings

# A busy machine, or torch as it warms up, must not fail a property for its slowness.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# The tensors are tiny: more threads would only wait for each other.
torch.set_num_threads(1)
