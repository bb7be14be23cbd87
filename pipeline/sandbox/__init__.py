"""What lets the pipeline run on a machine with nothing installed: real servers and a simulated dialler.

Nothing else of the pipeline imports this package. The servers and the dialler import nothing of the pipeline either:
what they simulate is written from the dialler's contract, not from the consumer's reading of it. Only ``stack`` and
``demo``, which run the whole, look at both sides.
"""
