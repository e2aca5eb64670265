"""Learned rounding of weights, on torch. `amctc.passes.round_weights` is who asks for it."""
