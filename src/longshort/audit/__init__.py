"""Audit: proofs that nothing of the future reaches a model, made by changing the future and looking what moves.

    proof     what a proof says
    learning  a network trained as its item is, shortly, and asked what it came to
    prices    a price data set: features, windows, scaler, weights, shuffled targets, planted leaks
    texts     a text: vocabulary, windows, weights, shuffled words, a planted leak
    stage     the shell: reads the tidy table, writes `reports/audit`

A proof that cannot fail proves nothing. So leaks are planted on purpose, and an audit that does not catch them does not hold.
"""
