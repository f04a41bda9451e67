"""Text generation: prompts, sampling, batched decoding with a KV cache."""
