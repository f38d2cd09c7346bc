"""longshort retrains recurrent networks on prices and text, and lets only a better model serve."""
