"""Evaluation: the test part, scored beside what costs nothing.

    metrics     errors, skill, direction, the Diebold–Mariano test, perplexity
    baselines   what a forecast of prices must beat: the last price
    ngrams      what a language model must beat: a unigram and a trigram
    intervals   how far what comes may lie from a forecast: conformal, online
    pictures    the same, to look at: PNG bytes
    stage       the shell: reads `data/windows` and `data/training`, writes `data/evaluation`

Errors are signed forecast - actual. Every score stands beside its baseline's, on the same unseen windows
or tokens. Which model serves is decided in `registry`; networks run in `training`; nothing is fitted here
but the baselines, and those on train and validation alone.
"""
