"""A few hundred inputs of each kind; `python tests/proofs/fuzz.py --inputs 1_000_000` tries more."""

import pytest
from fuzz import Limits, fuzz
from fuzz_targets import TARGETS, Target

LIMITS = Limits(cpu_s=5.0, memory_bytes=2**30)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_mutated_inputs_end_as_promised(target: Target) -> None:
    assert list(fuzz(target, seed=7, first=0, inputs=150, limits=LIMITS)) == []


def crash(data: bytes) -> None:
    if len(data) % 2:
        raise KeyError("odd")


def test_what_is_not_promised_is_found() -> None:
    target = Target(name="odd", seeds=(b"abc", b"abcd"), prepare=lambda folder: crash, promised=(ValueError,))
    found = list(fuzz(target, seed=7, first=0, inputs=50, limits=LIMITS))
    assert 5 < len(found) < 50
    assert all(finding.what.startswith("KeyError: \"'odd'\" at test_fuzz.py") for finding in found)


def hang(data: bytes) -> None:
    while len(data) == 3:
        pass


def hoard(data: bytes) -> None:
    bytearray(2**31)


def test_a_call_that_hangs_or_hoards_is_found_and_the_rest_is_tried() -> None:
    target = Target(name="hang", seeds=(b"abc",), prepare=lambda folder: hang)
    limits = Limits(cpu_s=0.05, memory_bytes=2**30)
    found = list(fuzz(target, seed=7, first=0, inputs=20, limits=limits))
    assert found and all(finding.what == "does not end" for finding in found)
    target = Target(name="hoard", seeds=(b"abc",), prepare=lambda folder: hoard)
    found = list(fuzz(target, seed=7, first=0, inputs=3, limits=LIMITS))
    assert [finding.number for finding in found] == [0, 1, 2]
