"""In which order passes may stand, and where one that joins a pipeline goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from amctc.diagnostics import error
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Fixpoint, Pipeline
from amctc.source import Span

QUANTIZATION_BEGINS = "annotate-quant"
"""A pass that says nothing of its place joins a pipeline in front of this one: in the float part."""

_OR = "|"
"""Between passes of which one suffices, in `needs_before` and `needs_after`."""


def check_order(steps: Sequence[tuple[Pass, Span | None]]) -> None:
    """Raise `DiagnosticError` (AM504) when a pass stands on the wrong side of one it names."""
    first = {step.name: place for place, (step, _) in reversed(list(enumerate(steps)))}
    last = {step.name: place for place, (step, _) in enumerate(steps)}
    for place, (step, span) in enumerate(steps):
        for name in (*step.after, *_each(step.needs_before)):
            if first.get(name, place) > place:
                raise error("AM504", f"`{step.name}` must come after `{name}`", span, help=_help(steps))
        for name in (*step.before, *_each(step.needs_after)):
            if last.get(name, place) < place:
                raise error("AM504", f"`{step.name}` must come before `{name}`", span, help=_help(steps))


def check_complete(pipeline: Pipeline) -> None:
    """Raise `DiagnosticError` (AM505) when a pass lacks one that it needs, or is there twice and not repeatable."""
    present = Counter(step.name for step in pipeline.passes)
    for step in pipeline.passes:
        if present[step.name] > 1 and (step.needs_before or step.needs_after) and not step.repeatable:
            # Quantizing what is quantized already would give a wrong network.
            raise error("AM505", f"`{step.name}` stands in the pipeline {present[step.name]} times, once is enough")
        for names, where in ((step.needs_before, "before"), (step.needs_after, "after")):
            for name in names:
                wanted = name.split(_OR)
                if present.keys().isdisjoint(wanted):
                    help = "`amctc passes` lists the passes; leave `--pipeline` out for the usual ones"
                    either = " or ".join(f"`{each}`" for each in wanted)
                    raise error("AM505", f"`{step.name}` needs {either} {where} it", help=help)


def with_pass(pipeline: Pipeline, step: Pass, span: Span | None = None) -> Pipeline:
    """The pipeline with a pass that a policy asks for.

    One that the pipeline has already takes the given options in its place. A new one goes right behind the
    last pass that it must follow, else right before the first that must follow it, else where the float part of the
    pipeline ends. Raises `DiagnosticError` (AM504) where no place is right.
    """
    if pipeline.place_of(step.name) is not None:
        return Pipeline(tuple(_exchanged(each, step) for each in pipeline.steps))
    place = _place(pipeline, step)
    joined = Pipeline((*pipeline.steps[:place], step, *pipeline.steps[place:]))
    check_order([(each, span if each is step else None) for each in joined.passes])
    return joined


def _place(pipeline: Pipeline, step: Pass) -> int:
    behind = [pipeline.place_of(name) for name in (*step.after, *_each(step.needs_before))]
    ahead = [pipeline.place_of(name) for name in (*step.before, *_each(step.needs_after))]
    for each in pipeline.passes:
        if step.name in (*each.before, *_each(each.needs_after)):
            behind.append(pipeline.place_of(each.name))
        if step.name in (*each.after, *_each(each.needs_before)):
            ahead.append(pipeline.place_of(each.name))
    earliest = [place + 1 for place in behind if place is not None]
    latest = [place for place in ahead if place is not None]
    if earliest:
        return max(earliest)
    if latest:
        return min(latest)
    end = pipeline.place_of(QUANTIZATION_BEGINS)
    return len(pipeline.steps) if end is None else end


def _each(names: Sequence[str]) -> Iterator[str]:
    """Each pass that is named, those between which one may choose too."""
    for name in names:
        yield from name.split(_OR)


def _exchanged(old: Pass | Fixpoint, new: Pass) -> Pass | Fixpoint:
    if isinstance(old, Fixpoint):
        return Fixpoint(tuple(new if each.name == new.name else each for each in old.passes), old.limit)
    return new if old.name == new.name else old


def _help(steps: Sequence[tuple[Pass, Span | None]]) -> str:
    """An order of the same passes that all of them allow, as near to the given one as can be."""
    places = {step.name: place for place, (step, _) in reversed(list(enumerate(steps)))}
    wanted: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(places, ()))
    for step, _ in steps:
        wanted.add(step.name, *(name for name in (*step.after, *_each(step.needs_before)) if name in places))
        for name in (*step.before, *_each(step.needs_after)):
            if name in places:
                wanted.add(name, step.name)
    try:
        return f"this order is right: {','.join(_nearest(wanted, places))}"
    except CycleError as circle:
        names: list[str] = circle.args[1]
        return f"no order is right: {' before '.join(names)}"


def _nearest(wanted: TopologicalSorter[str], places: Mapping[str, int]) -> Iterator[str]:
    wanted.prepare()
    ready: list[str] = []
    while wanted:
        ready = sorted([*ready, *wanted.get_ready()], key=places.__getitem__)
        yield ready[0]
        wanted.done(ready.pop(0))
