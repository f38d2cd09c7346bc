"""Tasks: what a network is asked, and how its answer is charged.

A task says what its examples are, what stands before and behind the recurrent layers, and what the
loss is. It knows nothing of cells, optimisers, files or MLflow.

    forecast         the next values of a series from the values before
    language_model   the next word at every word of a text
    next_word        the word behind a window
    series           the next value at every step of a series
    classify, tag    one label for a text or an image; one for every word
    translate        a row of words for another, of another length
    caption          a row of words for one vector
    align            a row of symbols for a longer one, nobody says where (CTC); paths: how such answers are read
    rows             rows of different lengths side by side; spoken, speech: what tasks share whose answer is said word by word
"""
