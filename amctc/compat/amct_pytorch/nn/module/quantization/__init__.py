"""Modules that users build into their networks."""
