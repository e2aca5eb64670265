"""What the policy language has and this version does not build."""

from __future__ import annotations

from amctc.diagnostics import Diagnostic
from amctc.policy.resolved import ResolvedPolicy, Rule
from amctc.policy.settings import ARQ, SNQ


def not_yet_available(resolved: ResolvedPolicy) -> list[Diagnostic]:
    """One AM290 for each rule that asks a layer for `snq_quantize`, for `update_bn: true` and for each `pass`."""
    asked: dict[tuple[str, int], tuple[Rule, list[str]]] = {}
    for config in resolved.layers.values():
        if not config.quant_enable.value or config.weights is None or config.weights.algorithm.value != SNQ:
            continue
        rule = config.weights.algorithm.rule
        key = (rule.kind, rule.span.start if rule.span is not None else -1)
        asked.setdefault(key, (rule, []))[1].append(config.name)
    found = [
        Diagnostic(
            "AM290",
            f"`{SNQ}` is accepted by the language, but not built in this version",
            span=rule.span,
            notes=(f"it holds for {_some(names)}",),
            help=f"use `{ARQ}`",
        )
        for rule, names in asked.values()
    ]
    found += [
        Diagnostic(
            "AM290",
            f"`pass` is accepted by the language, but not built in this version: `{rule.name.value}` would not run",
            span=rule.name.span,
            help="name passes with `--pipeline`",
        )
        for rule in resolved.passes
    ]
    general = resolved.general
    if general.update_bn is not None and general.update_bn.value:
        message = "`update_bn` is accepted by the language, but not built in this version"
        found.append(Diagnostic("AM290", message, span=general.update_bn.rule.span, help="write `update_bn: false`"))
    return found


def _some(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more layers"
