"""The zero-shot evaluations of the GPT-2 paper (Radford et al. 2019, section 3), from files on this machine.

`files` opens and checks what is on disk, `texts` and `questions` read each published set, `detokenizers`
turn what a tokenizer pulled apart into running text and back, `suite` knows which sets there are, `scoring`
asks the model, `tasks` makes figures of its answers, and `table` sets them beside those of `paper`.
"""
