"""The gate: with many orders arriving at it, a book holds exactly those that were told so."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from dso.api.tokens import Caller
from dso.store.book import BookKey, BookOrder, close_book
from tests.support.api_market import DAY, GATE, ROLES, Desk

ORDERS = 240
SENDERS = 8


def test_a_book_does_not_close_before_its_gate(desk: Desk) -> None:
    store = desk.market.services.store
    with pytest.raises(ValueError, match="is open until"), store.transaction() as connection:
        close_book(connection, BookKey(feeder="village", day=DAY, gate=GATE))


def test_in_the_book_if_and_only_if_committed_before_the_gate(desk_on_each: Desk) -> None:
    desk = desk_on_each
    store = desk.market.services.store
    desk.set_now(GATE - timedelta(minutes=1))
    token = desk.ring.sign(Caller(client="c", party="agg", role=ROLES["agg"]))
    head = {"Authorization": f"Bearer {token}"}
    closed: list[tuple[BookOrder, ...]] = []
    half = threading.Event()
    answered = threading.Semaphore(0)

    def send(number: int) -> tuple[int, Any]:
        order = desk.order(terms={"p_mw_max": 0.001, "price_eur_per_mwh": number / 100})
        answer = desk.http.post("/api/v1/orders", json=order, headers=head)
        answered.release()
        return answer.status_code, answer.json()

    def gate() -> None:
        for _ in range(ORDERS // 2):
            answered.acquire()
        desk.set_now(GATE)
        with store.transaction() as connection:
            closed.append(close_book(connection, BookKey(feeder="village", day=DAY, gate=GATE)))
        half.set()

    closer = threading.Thread(target=gate)
    closer.start()
    with ThreadPoolExecutor(SENDERS) as pool:
        answers = list(pool.map(send, range(ORDERS)))
    closer.join()
    assert half.is_set()
    assert {code for code, _ in answers} == {201}  # none unanswered
    told = {said["id"] for _, said in answers if said["in_book"]}
    booked = [order.id for order in closed[0]]
    assert set(booked) == told
    assert ORDERS // 2 <= len(told) < ORDERS
    instant = "2026-11-22T12:30:00.000000Z"
    assert all((said["received_at"] < instant) == said["in_book"] for _, said in answers)
    with store.transaction() as connection:
        again = close_book(connection, BookKey(feeder="village", day=DAY, gate=GATE))
    assert [order.id for order in again] == booked
    numbers = [row["number"] for row in desk.ask(
        "aud", "GET", "/orders/export", params={"day": DAY}).json()["items"]]  # fmt: skip
    assert numbers == list(range(1, ORDERS + 1))
