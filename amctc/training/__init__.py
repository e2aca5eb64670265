"""Training: a graph run in torch with gradients. The only part of amctc that needs torch; see `torch_missing`."""
