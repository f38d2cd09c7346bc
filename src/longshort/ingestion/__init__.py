"""Ingestion: a person's files, or the embedded defaults, become one tidy table with an account of every row.

    source     a file's bytes, before anyone asks what they mean: regular, UTF-8, no disguise
    reading    what one file became: table, quarantined rows, and counts that must balance
    prices     CSV bytes to prices, one ticker a file
    text       text bytes to a document
    embedded   the data sets that come with the dependencies
    dataset    several files become one table and one account
    stage      the shell that dvc.yaml calls: `data/raw` in, `data/ingestion` out
    intake     the shell behind `longshort ingest`: files in, a version under `data/raw` out

A row that cannot be read is set aside unchanged, never repaired by a guess. Whether prices make sense (High below
Low, gaps, splits) or a text is long enough is left to `validation`.
"""
