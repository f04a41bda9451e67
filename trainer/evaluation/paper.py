"""Published results, for comparison.

The paper's are those of table 3 in "Language Models are Unsupervised Multitask Learners" (Radford et al.
2019), by the sizes that it names. HellaSwag came later; its figures are llm.c's (dev/data/hellaswag.py and
its notes), by the same way of scoring.
"""

SIZES = ("117M", "345M", "762M", "1542M")

# Task and unit -> results of the four sizes; None if unknown.
PUBLISHED: dict[tuple[str, str], tuple[float | None, ...]] = {
    ("lambada", "perplexity of the last word"): (35.13, 15.60, 10.87, 8.63),
    ("lambada", "accuracy of the last token, stop words filtered"): (45.99, 55.48, 60.12, 63.24),
    ("cbt_common_nouns", "accuracy"): (87.65, 92.35, 93.45, 93.30),
    ("cbt_named_entities", "accuracy"): (83.4, 87.1, 88.0, 89.05),
    ("wikitext2", "perplexity per token"): (29.41, 22.76, 19.93, 18.34),
    ("ptb", "perplexity per word"): (65.85, 47.33, 40.31, 35.76),
    ("enwik8", "bits per byte"): (1.16, 1.01, 0.97, 0.93),
    ("text8", "bits per character"): (1.17, 1.06, 1.02, 0.98),
    ("wikitext103", "perplexity per word"): (37.50, 26.37, 22.05, 17.48),
    ("one_billion_words", "perplexity per word"): (75.20, 55.72, 44.575, 42.16),
    ("hellaswag", "accuracy, length-normalised"): (29.45, 37.52, 43.20, 48.89),
    ("hellaswag", "accuracy"): (28.59, None, None, 38.42),
}

# Task -> remarks on those results.
REMARKS: dict[str, tuple[str, ...]] = {
    "wikitext2": (
        "The test splits of WikiText-2 and -103 are the same text. The paper's 29.41 is reproduced per BPE "
        "token (29.94), its 37.50 for WikiText-103 per word (37.37): huggingface/transformers issue 13761.",
        "Hugging Face's page on perplexity has 19.44 per token for 762M at a stride of 1024, 16.44 at 512.",
        "Reports of OpenAI's stride and text contradict each other: karpathy/llm.c pull request 276.",
    ),
    "wikitext103": ("The same text as WikiText-2's test split: see above.",),
    "one_billion_words": (
        "The paper does not say which held-out part, nor whether sentences share a context.",
    ),
    "enwik8": ("The paper does not say which part; the last 5 MB are the usual test split.",),
    "text8": ("The paper does not say which part; the last 5 MB are the usual test split.",),
    "lambada": (
        "The paper's accuracies are of the last BPE token, not of the last word (lm-evaluation-harness issue "
        "356; 46.67 for 117M in huggingface/transformers issue 13761), and with a stop-word filter: without "
        "it 52.66 for 1542M. lm-evaluation-harness has 32.56 and perplexity 40.06 for 117M by the last word "
        "(its issue 2159).",
    ),
    "cbt_common_nouns": ("84.35 for 117M in huggingface/transformers issue 13761.",),
    "cbt_named_entities": ("73.65 for 117M in huggingface/transformers issue 13761.",),
    "hellaswag": (
        "Not in the paper; llm.c's figures, by the endings' loss per token. lm-evaluation-harness divides by "
        "characters and edits the text: 31.14 for 117M, 50.89 for 1542M.",
    ),
}
