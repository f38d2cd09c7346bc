"""Ingestion: a person's files, or the embedded defaults, become one tidy table with an account of every row.

    source     a file's bytes, before anyone asks what they mean: regular, unpacked, in chunks
    disguise   what only bears the name of a text: archives, documents, web pages
    encoding   bytes to characters, by evidence
    reading    what one file became: table, quarantined rows, and counts that must balance
    prices     CSV bytes to prices, one ticker a file
    text       text bytes to a document
    labelled   text with labels, with tags, or in pairs; captions: numbers with a caption a row
    idx        images and labels as MNIST has them; watched: series with the windows in which they are out of order
    parts      which part of a data set a file says that it is
    recognition  which task files are for, and which are read together
    suspicion  what a person should look at: a wrong encoding, secrets, lines that repeat
    vocabulary whether there are words enough to learn from
    embedded   the data sets that come with the dependencies
    dataset    several files become one table and one account
    staleness  whether the sources of a schedule have stopped bringing rows
    stage      the shell that dvc.yaml calls: `data/raw` in, `data/ingestion` out
    intake     the shell behind `longshort ingest`: files in, a version under `data/raw` out

A row that cannot be read is set aside unchanged, never repaired by a guess. Whether prices make sense (High below
Low, gaps, splits) or a text is long enough is left to `validation`.
"""
