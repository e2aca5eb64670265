"""Scales and offsets on disk, and what was done to which layer."""
