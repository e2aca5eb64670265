"""Target `ge`: graphs for Ascend's Graph Engine."""
