"""A local OpenAI-compatible server whose answers come from rules: no language model, no key, no cost.

It lets the whole path of a model trader run for real, over HTTP, on any machine. It says what it is in its
model name and in each answer. On demand it misbehaves in the ways in which real endpoints do.
"""
