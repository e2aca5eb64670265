"""Work, counted in calls of functions: no busy machine changes that."""

from __future__ import annotations

from collections.abc import Callable
from cProfile import Profile


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called, those written in C and steps of generators included."""
    profile = Profile()  # written in C: a function for `sys.setprofile` takes several times as long as the work
    profile.runcall(work)
    return sum(entry.callcount for entry in profile.getstats())
