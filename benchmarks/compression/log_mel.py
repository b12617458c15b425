"""Log-mel spectrograms of short recordings, in numpy alone: the same input gives the same bytes.

8 kHz sound becomes 64 bands by 64 frames: the recording in the middle of 1.024 s (longer ones lose both ends alike),
Hann windows of 32 ms every 16 ms, power spectrum over 1,024 points (zero-padded), 64 triangular bands between 50 and
4,000 Hz, equally wide in mel = 2595 log10(1 + f / 700) (O'Shaughnessy 1987), natural logarithm of power + 1e-6 for
samples between -1 and 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
BANDS = FRAMES = 64
_HOP = 128
_WINDOW = 256
_POINTS = 1024
_LOW_HZ, _HIGH_HZ = 50.0, 4000.0
_LEAST_POWER = 1e-6

Floats = NDArray[np.float32]


def log_mel(samples: NDArray[np.int16]) -> Floats:
    """(n,) int16 at 8 kHz to (64 bands, 64 frames)."""
    centred = _centred(samples.astype(np.float64) / 32768, FRAMES * _HOP)
    padded = np.pad(centred, (_WINDOW - _HOP) // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:FRAMES]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), _POINTS, axis=1)) ** 2
    found: Floats = np.log(_BANK @ power.T + _LEAST_POWER).astype(np.float32)
    return found


def _centred(signal: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    missing = length - len(signal)
    if missing < 0:
        start = -missing // 2
        return signal[start : start + length]
    return np.pad(signal, (missing // 2, missing - missing // 2))


def _bank() -> NDArray[np.float64]:
    """(bands, points / 2 + 1) triangles of height 1."""
    edges_hz = _hz(np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), BANDS + 2))
    bins_hz = np.linspace(0, RATE_HZ / 2, _POINTS // 2 + 1)
    low, middle, high = (edges_hz[offset : offset + BANDS, None] for offset in range(3))
    rising, falling = (bins_hz - low) / (middle - low), (high - bins_hz) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling))


def _mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


_BANK = _bank()
