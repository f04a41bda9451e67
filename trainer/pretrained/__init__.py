"""Reads a trained model from a run, a checkpoint or a Hugging Face directory, ours or anyone's."""
