"""The checks of a .cfg policy of any flavour."""

from __future__ import annotations

from amctc.diagnostics import Collector
from amctc.policy.checks_ptq import check_ptq
from amctc.policy.checks_training import check_kv_cache, check_training
from amctc.policy.rules import Policy


def check_policy(policy: Policy, collector: Collector) -> None:
    """Report all that is wrong with the values of a policy that was read from a .cfg file."""
    if policy.training is not None:
        check_training(policy, policy.training, collector)
    elif policy.kv_cache is not None:
        check_kv_cache(policy, policy.kv_cache, collector)
    else:
        check_ptq(policy, collector)
