"""The zero-shot evaluations of the GPT-2 paper (Radford et al. 2019, section 3), from files on this machine.

`files` opens and checks files, `texts` and `questions` read each published set, `detokenizers` turn tokenized
text into running text and back, `suite` lists the sets, `scoring` runs the model, `tasks` computes metrics,
and `table` compares them with those of `paper`.
"""
