"""GPT-2 as a PyTorch module: everything in its forward and backward pass."""
