"""The ge dialect: ops of Ascend's Graph Engine. Their rows are gathered in `ops`."""

GE = "ge"
"""The name of the dialect."""
