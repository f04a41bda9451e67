"""GPT-2 as a PyTorch module, with everything that its forward and backward pass consist of."""
