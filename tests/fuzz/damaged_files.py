"""Damage to the characters of a prototxt and to the bytes of a caffemodel, whatever they mean."""

from __future__ import annotations

import re
from random import Random

from tests.fuzz.mutations import WORDS

_TOKENS = re.compile(r"\w+|\s+|[^\w\s]")
_HUGE = ("4294967295", "2147483647", "1000000000000", "-1", "0", "99999", "3000000000")
_NESTS = ("layer {", "shape {", "x {", "[", "convolution_param {", "layers {", "layers { layer {", "x <", "/*", "'")
_FLOODS = ("input_dim: 1 ", "layer {} ", 'input: "a" ', "x: 1 ", "{", "input_shape { dim: 1 } ", "# \n", "\n")


def damaged_text(rng: Random, text: str) -> str:
    """The text after a few edits: cut off, nested deeply, repeated, with huge or odd values."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        tokens: list[str] = _TOKENS.findall(text) or [""]
        at = rng.randrange(len(tokens))
        match rng.randrange(10):
            case 0:
                tokens = tokens[:at]
            case 1:
                tokens[at:at] = [rng.choice(_NESTS)] * rng.choice((3, 500, 20_000))
            case 2:
                end = min(len(tokens), at + rng.randint(1, 40))
                tokens[at:end] = tokens[at:end] * rng.choice((2, 3, 50))
            case 3 | 4:
                numbers = [index for index, token in enumerate(tokens) if token.isdigit()]
                tokens[rng.choice(numbers or [at])] = rng.choice(_HUGE)
            case 5:
                tokens[at] = rng.choice(WORDS)
            case 6:
                del tokens[at : at + rng.randint(1, 12)]
            case 7:
                tokens[at:at] = [rng.choice(_FLOODS)] * rng.choice((50, 5000))
            case 8:
                words = [index for index, token in enumerate(tokens) if token.isidentifier()]
                first, second = rng.choice(words or [at]), rng.choice(words or [at])
                tokens[first], tokens[second] = tokens[second], tokens[first]
            case _:
                tokens.insert(at, rng.choice(WORDS))
        text = "".join(tokens)
    return text


def damaged_bytes(rng: Random, data: bytes) -> bytes:
    """The bytes after a few edits: flipped bits, cut off, repeated, lengths made huge."""
    edited = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 6))):
        # Most edits go to the front, where the structure is; the rest is numbers.
        reach = len(edited) if rng.random() < 0.3 else min(len(edited), 400)
        at = rng.randrange(max(reach, 1))
        match rng.randrange(6):
            case 0 | 1:
                edited[at : at + 1] = bytes([(edited[at] if edited else 0) ^ (1 << rng.randrange(8))])
            case 2:
                del edited[at:]
            case 3:
                edited[at : at + 1] = rng.choice(
                    (b"\xff" * 9 + b"\x01", b"\xff\xff\xff\xff\x0f", b"\x80" * 12, b"\x00")
                )
            case 4:
                chunk = edited[at : at + rng.randint(1, 60)]
                edited[at:at] = chunk * rng.choice((1, 2, 200))
            case _:
                del edited[at : at + rng.randint(1, 12)]
    return bytes(edited)
