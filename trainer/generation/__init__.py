"""Text from a model: prompts, sampling, batched decoding with a KV cache."""
