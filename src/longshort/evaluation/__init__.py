"""Evaluation: the test part, scored beside what costs nothing.

    metrics     errors, skill, direction, the order of tickers, the Diebold–Mariano test, perplexity
    baselines   what a forecast of prices must beat: the last price, lines through the past, ridge, LightGBM
    ngrams      what a language model must beat: a unigram and a trigram
    intervals   how far what comes may lie from a forecast: conformal, online
    forecasts   price levels from a model's answers, scored
    texts       what a language model is charged for each word
    answers     what a model of labels, tags, pairs or captions says to a row; rows: that, scored beside plain methods
    classes, spans, translations
                what the answers of such a model are worth: scikit-learn, spans, sacrebleu
    alarms      thresholds that set the rate of false alarms
    tables      the same figures by step, ticker and regime
    backtest    an illustration of what direction alone would have earned
    contest     challenger and champion on the same windows
    report      an item's figures, tables and pictures together
    pictures    the same, to look at: PNG bytes
    stage       the shell: reads `data/windows` and `data/training`, writes `data/evaluation`

Errors are signed forecast - actual. Every score stands beside its baseline's, on the same unseen windows
or tokens. Which model serves is decided in `registry`; networks run in `training`; nothing is fitted here
but the baselines, and those on train and validation alone.
"""
