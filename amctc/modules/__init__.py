"""Torch modules as amctc rewrites them: a copy of the user's, with some of its layers in wrappers. Needs torch."""
