"""Keccak-256 as Ethereum uses it: the padding before SHA-3, which the standard library has not.

Source: Keccak reference 3.0, sections 1.2 and 2; checked in the tests against another library.
"""

from __future__ import annotations

from typing import Final

LANES: Final = 25
RATE_BYTES: Final = 136
ROUNDS: Final = 24
MASK: Final = (1 << 64) - 1


def keccak256(content: bytes) -> bytes:
    """Return the 32 bytes of Keccak-256.

    Examples
    --------
    >>> keccak256(b"").hex()
    'c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470'
    """
    padding = bytearray(RATE_BYTES - len(content) % RATE_BYTES)
    padding[0] ^= 0x01
    padding[-1] ^= 0x80
    padded = content + bytes(padding)
    lanes = [0] * LANES
    for start in range(0, len(padded), RATE_BYTES):
        for lane in range(RATE_BYTES // 8):
            place = start + 8 * lane
            lanes[lane] ^= int.from_bytes(padded[place : place + 8], "little")
        lanes = _permute(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def _turn(lane: int, bits: int) -> int:
    return ((lane << bits) | (lane >> (64 - bits))) & MASK if bits else lane


def _round_constants() -> list[int]:
    """Constants of step iota, from the shift register of section 1.2."""
    register, found = 1, []
    for _ in range(ROUNDS):
        constant = 0
        for power in range(7):
            if register & 1:
                constant |= 1 << ((1 << power) - 1)
            register <<= 1
            if register & 0x100:
                register ^= 0x171
        found.append(constant)
    return found


def _rotations() -> list[int]:
    """Offsets of step rho by lane x + 5 y."""
    found = [0] * LANES
    x, y = 1, 0
    for step in range(ROUNDS):
        found[x + 5 * y] = (step + 1) * (step + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return found


_CONSTANTS: Final = _round_constants()
_ROTATIONS: Final = _rotations()


def _permute(lanes: list[int]) -> list[int]:
    for constant in _CONSTANTS:
        parity = [
            lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20]
            for x in range(5)
        ]
        theta = [parity[(x - 1) % 5] ^ _turn(parity[(x + 1) % 5], 1) for x in range(5)]
        moved = [0] * LANES
        for x in range(5):
            for y in range(5):
                lane = x + 5 * y
                moved[y + 5 * ((2 * x + 3 * y) % 5)] = _turn(
                    lanes[lane] ^ theta[x], _ROTATIONS[lane]
                )
        lanes = [
            moved[x + 5 * y] ^ (~moved[(x + 1) % 5 + 5 * y] & moved[(x + 2) % 5 + 5 * y] & MASK)
            for y in range(5)
            for x in range(5)
        ]
        lanes[0] ^= constant
    return lanes
