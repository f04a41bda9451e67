"""A pseudo-random permutation without a table, by which data are shuffled."""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6


def permute(indices: NDArray[np.uint64], count: int, *, key: tuple[int, int]) -> NDArray[np.uint64]:
    """Return where each index goes in a pseudo-random permutation of range(count) that `key` chooses.

    A Feistel network over the smallest even number of bits that hold `count`, walked until it lands below
    `count` again (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002): no table, so that an
    epoch of a billion windows costs nothing to shuffle, and the order depends on no library's generator.
    """
    half = np.uint64(max(1, -(-(count - 1).bit_length() // 2)))  # bits in each half
    mask = (np.uint64(1) << half) - np.uint64(1)
    rounds = np.array([key[1] + (number << 32) for number in range(ROUNDS)], np.uint64)
    keys = _mix(_mix(np.array([key[0] % 2**64], np.uint64)) ^ _mix(rounds))
    places = indices.copy()
    outside = np.ones(len(places), bool)
    while outside.any():
        left, right = places[outside] >> half, places[outside] & mask
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        places[outside] = left << half | right
        outside = places >= count
    return places


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits one to one: the finaliser of SplitMix64 (Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)
