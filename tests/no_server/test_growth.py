"""Growth classes, tested by curves of a known class, with and without noise."""

import random
from math import log2

import pytest

from dal.gate.errors import InvalidInput
from dal.gate.header.promises import Growth
from dal.gate.measure.gate import sizes_up_to
from dal.gate.measure.growth import SLACK_OF, TOLERANCE, accelerates, closest, fit, gains_a_level

SIZES = (64, 256, 1024, 4096, 16_384)

KNOWN = {
    "nothing grows": (Growth.CONSTANT, lambda n: 14),
    "an index gains a level": (Growth.CONSTANT, lambda n: 14 + (n > 300) + (n > 5000)),
    "a page fills up": (Growth.CONSTANT, lambda n: 40 + min(n, 1000) / 50),
    "one descent per level": (Growth.LOGARITHMIC, lambda n: 10 + 8 * log2(n)),
    "a scan": (Growth.LINEAR, lambda n: 12 + n / 75),
    "a scan of wide rows": (Growth.LINEAR, lambda n: 5 + 3 * n),
    "a sort": (Growth.LINEARITHMIC, lambda n: 20 + n * log2(n)),
    "a join without an index": (Growth.QUADRATIC, lambda n: 100 + n * n / 50),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_curve_gets_its_class(name):
    growth, curve = KNOWN[name]
    assert fit({n: curve(n) for n in SIZES}).growth == growth


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("seed", range(20))
def test_noise_does_not_change_the_class(name, seed):
    growth, curve = KNOWN[name]
    noise = random.Random(seed)
    noisy = {n: curve(n) * noise.uniform(0.99, 1.03) + noise.choice((0, 0, 0, 1)) for n in SIZES}
    assert fit(noisy).growth in {growth, Growth.LINEAR if growth is Growth.LINEARITHMIC else growth}


def test_closest_returns_the_error_of_one_class():
    curve = {64: 27, 256: 76, 1024: 272, 4096: 1055, 16_384: 4400}
    assert closest(curve, Growth.LINEAR).error < 0.04
    assert closest(curve, Growth.LOGARITHMIC).error > 0.2


def test_a_scan_that_reaches_the_end_of_its_table_is_not_logarithmic():
    assert accelerates({64: 4, 256: 8, 1024: 25, 4096: 226, 16_384: 318})
    assert not accelerates({64: 102, 256: 112, 1024: 152, 4096: 172, 16_384: 172})
    assert not accelerates({n: 10 + 8 * log2(n) for n in SIZES})


def test_indexes_that_gain_a_level_at_the_same_size_are_not_a_scan():
    assert not accelerates({64: 21, 716: 21, 8000: 21, 89_443: 25, 1_000_000: 25})
    assert accelerates({64: 21, 716: 21, 8000: 21, 89_443: 50, 1_000_000: 90})


def test_a_third_level_of_the_indexes_explains_a_third_more_in_large_tables():
    assert gains_a_level({64: 51, 431: 51, 2896: 51, 19_484: 51, 131_072: 67})
    assert not gains_a_level({64: 51, 431: 51, 2896: 51, 19_484: 55, 131_072: 80})
    assert not gains_a_level({64: 51, 256: 51, 1024: 51, 4096: 51, 16_384: 67}), "too small for a third level"


def test_a_logarithm_that_starts_below_zero_does_not_fit():
    scan = {64: 26, 256: 30, 1024: 158, 4096: 588, 16_384: 437}  # The last size has another plan.
    assert fit(scan).growth > Growth.LOGARITHMIC
    assert closest(scan, Growth.LOGARITHMIC).error > TOLERANCE


@pytest.mark.parametrize("curve", [{100: 5, 200: 5, 400: 400}, {32: 5, 128: 6, 512: 400}])
def test_late_growth_is_found(curve):
    assert fit(curve).growth >= Growth.LINEAR


def test_one_more_wal_record_is_not_growth():
    brin = {64: 598, 256: 600, 1024: 601, 4096: 601, 16_384: 674}
    assert fit(brin, SLACK_OF["wal_bytes"]).growth == Growth.CONSTANT
    rewritten = {n: 500 + 4 * n for n in SIZES}
    assert fit(rewritten, SLACK_OF["wal_bytes"]).growth == Growth.LINEAR


def test_sizes_are_spread_evenly_up_to_the_largest():
    assert sizes_up_to(16_384) == SIZES
    assert sizes_up_to(5_000_000) == (64, 1070, 17_889, 299_070, 5_000_000)
    with pytest.raises(InvalidInput, match="1,024 or more"):
        sizes_up_to(1000)


def test_two_sizes_are_too_few():
    with pytest.raises(ValueError, match="three or more sizes"):
        fit({1: 1, 2: 2})
