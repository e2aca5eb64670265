"""Calibration models: what their IFMR layers see of each forward pass, and the record that they write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from amctc.compat.amct_caffe.log import log
from amctc.compat.caffe.engine import Engine, Part, is_undisturbed
from amctc.compat.caffe.errors import as_caffe_errors
from amctc.dialects.table import op_def
from amctc.ir import Graph, Value
from amctc.runtime.calibration_session import CalibrationSession

_PART = "IFMR"


class NetCalibration:
    """Feeds the IFMR layers of a net, and writes the record once they have seen enough batches.

    The observed values are computed exactly as `amctc compile` does it: in a run of their own where
    fetching others with them could change a bit.
    """

    def __init__(self, session: CalibrationSession, engine: Engine) -> None:
        self._session = session
        self._engine = engine

    @classmethod
    def of(cls, graph: Graph, engine: Engine) -> NetCalibration | None:
        """Of a calibration model; None for any other. Raises `CaffeError` (AM627) where IFMR layers do not fit."""
        if not CalibrationSession.is_needed(graph):
            return None
        with as_caffe_errors():
            return cls(CalibrationSession(graph), engine)

    def run(self, part: Part, feeds: Mapping[str, NDArray[Any]], fetch: Sequence[Value]) -> dict[Value, NDArray[Any]]:
        """`Engine.run` for the whole net, whose observers see the batch."""
        if self._session.is_done:
            return self._engine.run(part, feeds, fetch)
        seen = self._session.values
        computed = [value for value in seen if not op_def(value.producer).source]
        given = {value: feeds[value.blob] for value in seen if op_def(value.producer).source}
        if is_undisturbed(part.graph, computed, fetch):
            found = self._engine.run(part, feeds, list(dict.fromkeys([*computed, *fetch])))
            self._feed(found | given)
            return {value: found[value] for value in fetch}
        self._feed(self._engine.run(part, feeds, computed) | given)
        return self._engine.run(part, feeds, fetch)

    def _feed(self, found: Mapping[Value, NDArray[Any]]) -> None:
        with as_caffe_errors():
            done = self._session.feed(found)
            log.info(_PART, f"calibration batch {self._session.batches} of {self._session.batch_num} is done")
            if done is not None:
                done.write()
                for entry in done.entries:  # in the words of the patched Caffe, which scripts look for
                    log.info(_PART, f'Do layer:"{entry.name}" activation calibration success!')
                count = len(done.entries)
                log.info(_PART, f"the factors of {count} layers are in the record file {done.record_file}")
