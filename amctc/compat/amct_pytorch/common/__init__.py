"""What scripts for AMCT import from `amct_pytorch.common`."""
