"""Which layers of a file produce a blob: to tell a blob that comes too late from one that never comes."""

from __future__ import annotations

from collections.abc import Iterable

from amctc.frontends.caffe.layer_def import LayerDef


class Producers:
    """The layers of a net by the blobs they produce."""

    def __init__(self, layers: Iterable[LayerDef]) -> None:
        self._by_blob: dict[str, list[LayerDef]] = {}
        for layer in layers:
            for top in layer.tops:
                self._by_blob.setdefault(top.name, []).append(layer)

    def first(self, blob: str) -> LayerDef | None:
        found = self._by_blob.get(blob)
        return found[0] if found else None

    def depends(self, layer: LayerDef, on: LayerDef) -> bool:
        """Whether `layer` reads, perhaps through others, a blob that `on` produces."""
        seen: set[str] = set()
        waiting = [layer]
        while waiting:
            current = waiting.pop()
            if current is on:
                return True
            if current.name in seen:
                continue
            seen.add(current.name)
            waiting.extend(maker for bottom in current.bottoms for maker in self._by_blob.get(bottom.name, ()))
        return False
