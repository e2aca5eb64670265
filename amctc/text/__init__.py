"""Readers that keep positions: prototext, `.proto` schemas, JSON."""
