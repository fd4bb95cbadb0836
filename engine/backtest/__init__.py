"""The engine's own parts on simulated time: recordings in, one report out.

`loop` lets time pass when nothing is left to do, `market` plays recordings, `run` builds and runs the parts,
`figures` and `page` say what came of it.
"""
