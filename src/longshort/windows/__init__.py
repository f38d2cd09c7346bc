"""Windows: a series or a text in time order becomes supervised (past, future) pairs, in three parts.

    prices   columns that models read, the split by date, the scaler; windows by index over one array
    tokens   documents become paragraphs of words by number
    text     the vocabulary, the split by paragraphs; windows by index over one array of ids
    labelled texts with labels, words with tags, pairs: the split by rows; ids row by row
    captions numbers with a caption a row: the same split; scaled vectors, and ids
    images   images and their labels, in three parts; strips: some of them side by side
    contamination
             how much of a later part of a text stands in an earlier one
    stage    the shell: reads `data/ingestion`, writes `data/windows`

Windows are never materialised as a whole: an epoch is an order of window numbers, a batch is gathered
by index from the one array that holds the series. Pure NumPy; torch begins in `tasks`.
"""
