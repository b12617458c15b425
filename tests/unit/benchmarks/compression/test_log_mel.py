from __future__ import annotations

import numpy as np
import pytest

from benchmarks.compression.log_mel import BANDS, FRAMES, log_mel


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return (12_000 * np.sin(2 * np.pi * hz * np.arange(int(8000 * seconds)) / 8000)).astype(np.int16)


@pytest.mark.parametrize("seconds", [0.05, 0.5, 1.024, 1.3, 3.0])
def test_every_recording_becomes_a_picture_of_one_size(seconds):
    found = log_mel(tone(440, seconds))
    assert found.shape == (BANDS, FRAMES)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.parametrize("hz", [300.0, 1000.0, 2500.0])
def test_a_tone_lies_in_the_band_of_its_frequency(hz):
    def mel(value: float) -> float:
        return float(2595 * np.log10(1 + value / 700))

    edges = np.linspace(mel(50), mel(4000), BANDS + 2)
    nearest = int(np.abs(edges[1:-1] - mel(hz)).argmin())
    loudest = int(log_mel(tone(hz))[:, FRAMES // 2].argmax())
    assert abs(loudest - nearest) <= 1


def test_silence_is_the_least_power_everywhere():
    assert np.allclose(log_mel(np.zeros(4000, np.int16)), np.log(1e-6))


def test_a_short_recording_lies_in_the_middle():
    power = log_mel(tone(1000, 0.25)).max(axis=0)
    loud = np.flatnonzero(power > np.log(1e-3))
    assert abs((loud[0] + loud[-1]) / 2 - (FRAMES - 1) / 2) <= 1


def test_the_same_recording_gives_the_same_bytes():
    noise = np.random.default_rng(0).integers(-5000, 5000, 6000).astype(np.int16)
    assert log_mel(noise).tobytes() == log_mel(noise.copy()).tobytes()
