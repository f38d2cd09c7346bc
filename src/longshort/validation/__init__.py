"""Validation: is this data fit to learn from?

Great Expectations judges the tidy table of `data/ingestion` by suites written as code, and leaves the
findings (`result.json`) and two pages for people in `data/validation`: what the rules say (`index.html`) and
what the data look like (`quality.html`).

    frames     what a suite looks at: the tidy table, and figures derived from it
    suites     the rules, as lists of expectations
    judgement  the rules are put to a frame; nothing is written, sent or taken from the clock
    datadocs   findings become one page that opens offline
    profiles   the figures of a table: moves, gaps, moments, words
    drawing    numbers become SVG
    markup     words, numbers and tables of a page; a person's text does nothing there
    portraits  what prices, texts and rows of them look like
    quality    they and the account become the other page
    stage      files in, files out, and the refusal

Nothing is mended here: that is for `ingestion`, which reads a person's files. A gap in the sessions is
not refused either; `windows` does not cross it.
"""
