"""Approximations beside the AC engine, by name; they share its records and its certificate.

An approximation may screen, start or bound a clearing. Its prices may not be posted: the
certificate replays its schedule in AC and says what the approximation overlooked.
"""

from __future__ import annotations
