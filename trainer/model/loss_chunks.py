"""The number of logits that the loss computes at once, for the loss and the memory estimate. No torch."""

# On a GPU enough to keep it busy (for GPT-2's vocabulary 5,000 positions, 0.5 GB in bf16), and four times as
# many where their gradient takes their place: each chunk adds to the gradient of the whole head, whose bytes
# it shares out. On a CPU enough for its matrix products (300 positions, 64 MB), and few enough to be used
# while warm.
CHUNK_LOGITS = {"cuda": 2**28, "cpu": 2**24}
IN_PLACE = 4
