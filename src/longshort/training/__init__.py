"""Training: the one loop that every variant and every task goes through.

    loop          epochs, clipping, early stopping; the best weights are kept
    checkpoints   resumable state outside the stage's outputs, checked before it is read
    group         what the loop asks of processes that train one network together, and mostly there is one
    runs          trainings with an identity, brought to their end wherever a process was killed
    stage         the shell: reads `data/windows`, writes `data/training` and the journal

A run is a pure function of data, settings, code and seed: randomness is drawn anew from (seed, epoch) at
the start of each epoch, so a run that was killed goes on to the same bytes. Nothing here talks to a server.
"""
