"""The formats a trained model leaves in, a file each: Hugging Face's GPT-2 and OpenAI's own, for NumPy."""
