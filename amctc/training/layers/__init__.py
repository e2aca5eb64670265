"""How each layer runs in torch, and what its gradient is: one rule an op."""
