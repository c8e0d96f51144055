"""Quantizes to Q6_K, which llama.cpp's Python package can read and not write.

A block is 256 numbers in 210 bytes: low four bits and high two bits of each number, a signed byte of scale for each 16
numbers, and one half-precision scale over those.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Tried for each 16 numbers: how far from the largest number's own scale the best one may lie.
_SHIFTS = (-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9)


def quantize_blocks(_quantizer: Any, blocks: Any) -> Any:
    """The bytes of `blocks`, an array of rows of 256 numbers; in the shape of gguf-py's own quantizers."""
    groups = blocks.astype(np.float32).reshape(len(blocks), 16, 16)
    scales = _scales(groups)
    largest = np.take_along_axis(scales, np.abs(scales).argmax(axis=1)[:, None], axis=1)
    # Half precision is what the reader multiplies with, so the rest is rounded against that.
    over = np.nan_to_num(largest / np.float32(-128)).astype(np.float16)
    wide = over.astype(np.float32)
    small = np.where(wide == 0, 0, np.rint(scales / np.where(wide == 0, 1, wide))).clip(-128, 127).astype(np.int8)
    step = (wide * small)[:, :, None]
    levels = np.where(step == 0, 0, np.rint(groups / np.where(step == 0, 1, step))).clip(-32, 31)
    numbers = (levels + 32).astype(np.uint8).reshape(len(blocks), 2, 4, 32)
    low = numbers & 0x0F
    # Each half of a block: its first 64 numbers in the low nibbles, the others in the high ones.
    nibbles = (low[:, :, :2] | (low[:, :, 2:] << 4)).reshape(len(blocks), 128)
    high = numbers >> 4
    bits = high[:, :, 0] | (high[:, :, 1] << 2) | (high[:, :, 2] << 4) | (high[:, :, 3] << 6)
    parts = [nibbles, bits.reshape(len(blocks), 64), small.view(np.uint8), over.view(np.uint8)]
    return np.concatenate(parts, axis=1)


def _scales(groups: Any) -> Any:
    """For each 16 numbers the scale with the least squared error, each number weighted by its own square."""
    largest = np.take_along_axis(groups, np.abs(groups).argmax(axis=2)[:, :, None], axis=2)
    safe = np.where(largest == 0, 1, largest)
    weights = groups * groups
    best, found = np.zeros(groups.shape[:2], np.float32), np.zeros(groups.shape[:2], np.float32)
    for shift in _SHIFTS:
        levels = np.rint(groups * (np.float32(-(32 + shift)) / safe)).clip(-32, 31)
        with_numbers = (weights * groups * levels).sum(axis=2)
        squares = (weights * levels * levels).sum(axis=2)
        scale = with_numbers / np.where(squares == 0, 1, squares)
        gain = with_numbers * scale
        better = gain > best
        best, found = np.where(better, gain, best), np.where(better, scale, found)
    return found
