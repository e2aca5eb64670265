"""Recurrent layers: LSTM, RNN, GRU."""

from __future__ import annotations

from amctc.dialects.op import OpDef

RECURRENT_OPS: tuple[OpDef, ...] = ()
