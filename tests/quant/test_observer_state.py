"""All built-in observers: the same whatever the order, kept as bytes and read again, and nothing else is."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.quant.entropy import EntropyObserver
from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from amctc.quant.ifmr import IfmrResult, IfmrSettings
from amctc.quant.minmax import MinMaxObserver
from amctc.quant.mse import MseObserver
from amctc.quant.observer import IfmrObserver
from amctc.quant.observer_state import BuiltInObserver, from_bytes, to_bytes
from amctc.quant.observers import BUILT_IN_OBSERVERS
from amctc.quant.percentile import PercentileObserver
from tests.quant.observer_streams import FloatArray, merged_at_random, pieces, streams, values_of

COUNTING = (IfmrObserver, PercentileObserver, EntropyObserver, MseObserver)
Make = Callable[[], BuiltInObserver]


def makers(exact_limit: int = 1 << 14, options: IfmrSettings | None = None) -> dict[str, Make]:
    """All kinds, the last one HFMG, whose counts depend on the order."""

    def counting(kind: type[IfmrObserver]) -> Make:
        return lambda: kind(options, exact_limit=exact_limit)

    made: dict[str, Make] = {kind.kind: counting(kind) for kind in COUNTING}
    return made | {
        "minmax": lambda: MinMaxObserver(options),
        "hfmg": lambda: HfmgObserver(HfmgSettings(num_of_bins=1024)),
    }


def seen(observer: Any, *arrays: FloatArray) -> Any:
    for array in arrays:
        observer.update(array)
    return observer


def outcome(observer: BuiltInObserver) -> IfmrResult | str:
    """The result, or the code of what stands against one."""
    try:
        return observer.finish()
    except DiagnosticError as refusal:
        return refusal.diagnostics[0].code


@settings(max_examples=60, deadline=None)
@given(
    streams(),
    st.data(),
    st.sampled_from(["ifmr", "percentile", "entropy", "mse", "minmax"]),
    st.sampled_from([0, 500, 1 << 14]),
    st.sampled_from([0.999999, 0.99, 0.6]),
    st.sampled_from([(8, True), (8, False), (11, True), (16, False)]),
)
def test_neither_state_nor_result_depends_on_split_order_or_merging(
    values: FloatArray, data: st.DataObject, kind: str, limit: int, percentile: float, grid: tuple[int, bool]
) -> None:
    make: Any = makers(limit, IfmrSettings(*grid, percentile, percentile))[kind]
    whole = seen(make(), values)
    found = merged_at_random(data, pieces(data, values), make)
    assert to_bytes(found) == to_bytes(whole)
    assert outcome(found) == outcome(whole)


@settings(max_examples=20, deadline=None)
@given(st.data(), st.sampled_from(["ifmr", "entropy", "mse"]), st.sampled_from([0, 1 << 20]))
def test_samples_that_are_not_counted_in_full_give_one_state_in_any_order(
    data: st.DataObject, kind: str, limit: int
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    large = (rng.standard_t(3, (4, 3, 120, 121)) * np.array([1, 9, 1e-3, 1]).reshape(4, 1, 1, 1)).astype(np.float32)
    small = np.maximum(rng.standard_normal((6, 700), dtype=np.float32), 0)
    make: Any = makers(limit)[kind]
    whole = seen(make(), large, small)
    samples = [large[i : i + 1] for i in range(4)] + [small[i : i + 1] for i in range(6)]
    found = merged_at_random(data, data.draw(st.permutations(samples)), make)
    assert to_bytes(found) == to_bytes(whole)
    assert outcome(found) == outcome(whole)


@settings(max_examples=60, deadline=None)
@given(streams(), st.sampled_from(sorted(makers())), st.sampled_from([0, 500, 1 << 14]), st.integers(0, 3))
def test_what_is_read_again_goes_on_as_if_nothing_had_happened(
    values: FloatArray, kind: str, limit: int, parts: int
) -> None:
    first = makers(limit)[kind]()
    for part in np.array_split(values, 4)[:parts]:
        first.update(part)
    data = to_bytes(first)
    again = from_bytes(data, "conv1")
    assert type(again) is type(first) and again.name == "conv1" and again.settings == first.settings
    assert to_bytes(again) == data
    assert outcome(again) == outcome(first)
    for observer in (first, again):
        observer.update(values)
    assert to_bytes(again) == to_bytes(first)
    assert outcome(again) == outcome(first)


def test_what_was_sent_merges_as_what_was_not() -> None:
    left, right = values_of("normal", 1, 30_000), values_of("heavy", 2, 50_000)
    for kind, make in makers().items():
        direct: Any = seen(make(), left)
        direct.merge(seen(make(), right))
        sent: Any = from_bytes(to_bytes(seen(make(), left)))
        sent.merge(from_bytes(to_bytes(seen(make(), right))))
        assert to_bytes(sent) == to_bytes(direct), kind


def test_every_built_in_observer_has_a_state() -> None:
    assert sorted(makers()) == sorted(BUILT_IN_OBSERVERS)
    for kind, make in makers().items():
        assert make().kind == kind


def test_a_state_is_small_whatever_was_seen() -> None:
    for kind, make in makers().items():
        observer = make()
        for seed in range(4):
            observer.update(values_of("normal", seed, 200_000) * np.float32(1 + seed))
        assert len(to_bytes(observer)) < 1 << 18, kind


@pytest.mark.parametrize("kind", sorted(makers()))
def test_observers_of_another_kind_or_other_settings_are_not_merged(kind: str) -> None:
    observer: Any = makers()[kind]()
    other: Any = HfmgObserver(HfmgSettings(9)) if kind == "hfmg" else makers(options=IfmrSettings(9))[kind]()
    with pytest.raises(ValueError, match="different settings"):
        observer.merge(other)
    if kind in ("percentile", "entropy", "mse"):
        with pytest.raises(ValueError, match="different settings"):
            observer.merge(IfmrObserver(exact_limit=observer.exact_limit))


def state_bytes(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    file = io.BytesIO()
    text = json.dumps(about).encode()
    np.savez(file, allow_pickle=False, about=np.frombuffer(text, np.uint8), **arrays)
    return file.getvalue()


def parts_of(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    return json.loads(arrays.pop("about").tobytes()), arrays


def refused(data: bytes) -> str:
    with pytest.raises(DiagnosticError) as caught:
        from_bytes(data, "conv1")
    (found,) = caught.value.diagnostics
    assert found.code == "AM469" and "of layer `conv1` cannot be read" in found.message
    return found.message


COUNTED = to_bytes(seen(IfmrObserver(exact_limit=0), values_of("normal", 3, 5000)))
KEPT = to_bytes(seen(IfmrObserver(), values_of("normal", 3, 500)))
HFMG_STATE = to_bytes(seen(HfmgObserver(HfmgSettings(num_of_bins=1024)), values_of("normal", 3, 500)))
MINMAX = to_bytes(seen(MinMaxObserver(), values_of("normal", 3, 500)))

LIES: list[tuple[bytes, dict[str, Any], str]] = [
    (COUNTED, {"version": 2}, "version 1"),
    (COUNTED, {"observer": "best"}, "none that is built in"),
    (COUNTED, {"observer": "entropy", "exact_limit": 5}, "no `exact_limit` of 5"),
    (COUNTED, {"count": -1}, "`count`"),
    (COUNTED, {"count": True}, "`count`"),
    (COUNTED, {"count": 3}, "ends"),
    (COUNTED, {"per_sample": 0}, "`per_sample`"),
    (COUNTED, {"settings": {"bits": 8}}, "`settings` is no table"),
    (COUNTED, {"more": 1}, "other parts"),
    (COUNTED, {"counts": np.zeros(8, np.int64)}, "`counts`"),
    (COUNTED, {"counts": np.zeros(2 * 8192 - 1, np.int64)}, "counts no values"),
    (COUNTED, {"counts": np.full(2 * 8192 - 1, -1)}, "`counts`"),
    (COUNTED, {"counts": np.full(2 * 8192 - 1, 1)}, "outside their range"),
    (COUNTED, {"counts": np.full(2 * 8192 - 1, 1 << 60)}, "`counts`"),
    (COUNTED, {"counts": np.zeros(3, np.float32)}, "no array of int64"),
    (COUNTED, {"lowest": np.full(64, np.nan, np.float32)}, "NaN"),
    (COUNTED, {"lowest": np.linspace(64, 0, 64, dtype=np.float32)}, "ends"),
    (COUNTED, {"lowest": np.full(64, 1e9, np.float32)}, "above"),
    (COUNTED, {"highest": np.zeros(3, np.float32)}, "ends"),
    (KEPT, {"raw_rows": np.array([[1, 1, 499]])}, "does not fit"),
    (KEPT, {"raw_rows": np.array([[1, 2**31, 2**31]])}, "does not fit"),
    (KEPT, {"raw_rows": np.array([[1, -1, -500]])}, "no table"),
    (KEPT, {"raw_rows": np.array([[500]])}, "no table"),
    (KEPT, {"raw_values": np.zeros(500, np.float64)}, "no plain array"),
    (KEPT, {"raw_values": np.full(500, np.inf, np.float32)}, "NaN or Inf"),
    (KEPT, {"count": 501}, "not those that were seen"),
    (HFMG_STATE, {"counts": np.ones(1000, np.int64)}, "1024 bins"),
    (HFMG_STATE, {"counts": np.zeros(1024, np.int64)}, "counts no values"),
    (HFMG_STATE, {"ends": np.array([1, 0], np.float32)}, "no range"),
    (HFMG_STATE, {"ends": np.array([1, 1], np.float32)}, "counts no values"),
    (HFMG_STATE, {"ends": np.array([0, 3e38], np.float32)}, "no range"),
    (MINMAX, {"ends": np.array([1, 0], np.float32)}, "no range"),
    (MINMAX, {"ends": np.zeros(0, np.float32)}, "no range"),
    (MINMAX, {"ends": np.array([b"ab", b"cd"])}, "no plain array"),
    (MINMAX, {"ends": np.zeros((1, 1, 2), np.float32)}, "no plain array"),
    (MINMAX, {"ends": np.zeros((1, 2), np.float32)}, "1 axes"),
    (MINMAX, {"count": 10**400}, "`count`"),
]


@pytest.mark.parametrize(("data", "change", "words"), LIES)
def test_a_state_that_cannot_be_is_refused(data: bytes, change: dict[str, Any], words: str) -> None:
    about, arrays = parts_of(data)
    for key, value in change.items():
        if isinstance(value, np.ndarray):
            arrays[key] = value
        else:
            about[key] = value
    assert words in refused(state_bytes(about, arrays))


@pytest.mark.parametrize(
    ("key", "value"),
    [("bits", 7), ("bits", "8"), ("bits", 8.0), ("with_offset", 1), ("search_range", [1]), ("search_step", None)],
)
def test_settings_that_cannot_be_are_refused(key: str, value: object) -> None:
    about, arrays = parts_of(COUNTED)
    about["settings"][key] = value
    refused(state_bytes(about, arrays))


def archive_of(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"not an archive",
        archive_of(),
        archive_of(("about.npy", b"")),
        archive_of(("about.txt", b"{}")),
        archive_of(*((f"{i}.npy", b"") for i in range(40))),
        archive_of(("about.npy", bytes(100_000)), compression=zipfile.ZIP_DEFLATED),
        archive_of(("about.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,), }", b"{}"))),
        archive_of(("about.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-2, -1), }", b"{}"))),
        archive_of(("about.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04N."))),
        archive_of(("about.npy", npy("(" * 500))),
        archive_of(("about.npy", npy("-" * 500 + "1"))),
        archive_of(("about.npy", npy("{" * 60_000))),
        archive_of(("about.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (9000,), }", b"[" * 9000))),
        archive_of(("about.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", b"\xff\xfe"))),
        archive_of(("about.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", b"[]"))),
        archive_of(("about.npy", npy("{}", version=b"\x03\x00"))),
        bytes((64 << 20) + 1),
    ],
)
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    refused(data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([KEPT, HFMG_STATE, MINMAX]), st.data())
def test_damaged_bytes_are_refused_or_a_state(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data)
    for place in draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
        damaged[place] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.one_of(st.none(), st.integers(0, len(data))))
    try:
        found = from_bytes(bytes(damaged[:cut]))
    except DiagnosticError as refusal:
        assert refusal.diagnostics[0].code == "AM469"
    else:
        outcome(found)
