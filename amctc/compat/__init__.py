"""The interfaces of the tools that amctc takes the place of, so that scripts written for them run as they are."""
