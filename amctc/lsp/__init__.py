"""The language server for policies: what an editor shows while one is written.

Only `amctc.lsp.server` and `amctc.lsp.protocol` know the protocol (and import pygls); the other modules answer
questions about a text and an offset in it.
"""
