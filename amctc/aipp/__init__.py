"""AIPP: what the hardware does to images before the network sees them, as an `insert_op` file says it."""
