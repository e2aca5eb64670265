"""What AMCT has under `amct_pytorch.nn`."""
