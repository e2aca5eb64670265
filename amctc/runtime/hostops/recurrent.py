"""LSTM, RNN and GRU, step by step."""

from __future__ import annotations

from amctc.runtime.hostops.host_op import HostOp

RECURRENT_HOST_OPS: tuple[HostOp, ...] = ()
