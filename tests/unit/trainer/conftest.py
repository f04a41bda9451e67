"""Settings of these tests."""

import torch

# The tensors are tiny: more threads would only wait for each other.
torch.set_num_threads(1)
