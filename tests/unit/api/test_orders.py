"""Orders over HTTP: taken, refused with every problem, once per key, before the gate or late."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from data.canonical import canonical_json, sha256_hex
from tests.support.api_market import DAY, GATE, Desk


def problems(answer: Any) -> list[tuple[str, str]]:
    assert answer.headers["content-type"] == "application/problem+json"
    return [(each["where"], each["what"]) for each in answer.json()["problems"]]


def test_an_order_is_taken_and_read_by_its_party(desk_on_each: Desk) -> None:
    desk = desk_on_each
    taken = desk.ask("agg", "POST", "/orders", json=desk.order())
    assert taken.status_code == 201, taken.text
    said = taken.json()
    assert (said["state"], said["in_book"]) == ("booked", True)
    assert said["received_at"] == "2026-11-22T10:00:00.000000Z"
    assert said["gate"] == "2026-11-22T12:30:00Z"
    read = desk.ask("agg", "GET", f"/orders/{said['id']}")
    assert read.json()["terms"] == desk.order()["terms"]
    assert [row["id"] for row in desk.ask("agg", "GET", "/orders").json()["items"]] == [said["id"]]


def test_foreign_orders_are_unknown_not_forbidden(desk: Desk) -> None:
    name = desk.ask("agg", "POST", "/orders", json=desk.order()).json()["id"]
    foreign = desk.ask("rival", "GET", f"/orders/{name}")
    missing = desk.ask("rival", "GET", "/orders/o-00000000000000000000")
    assert foreign.status_code == missing.status_code == 404
    assert foreign.text.replace(name, "") == missing.text.replace("o-00000000000000000000", "")
    cancel = desk.ask("rival", "POST", f"/orders/{name}/cancel", json={"reason": "no"})
    assert cancel.status_code == 404
    assert desk.ask("rival", "GET", "/orders").json()["items"] == []
    asset = desk.ask("rival", "POST", "/orders", json=desk.order())
    none = desk.ask("rival", "POST", "/orders", json=desk.order(asset="village/sgen:9"))
    assert (asset.status_code, problems(asset)) == (422, problems(none))


def test_every_problem_is_listed(desk: Desk) -> None:
    bad = desk.order(
        terms={"p_mw_max": 7.0, "price_eur_per_mwh": 1e308, "ramp_mw_per_h": -1, "bus": 3, "x": 1}
    )
    answer = desk.ask("agg", "POST", "/orders", json=bad)
    assert answer.status_code == 422
    said = " ".join(what for _, what in problems(answer))
    for part in ("price_eur_per_mwh", "ramp_mw_per_h", "is not stated here", "x"):
        assert part in said, said


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e308", "1e999", "-1e308"])
def test_numbers_that_are_none_are_refused(desk: Desk, number: str) -> None:
    body = (
        f'{{"asset":"village/sgen:3","delivery_day":"{DAY}","kind":"generation",'
        f'"terms":{{"p_mw_max":{number},"price_eur_per_mwh":5}}}}'
    )
    headers = {"content-type": "application/json"}
    single = desk.ask("agg", "POST", "/orders", content=body, headers=headers)
    bulk = desk.ask(
        "agg", "POST", "/orders/bulk", content=f'{{"orders":[{body}]}}', headers=headers
    )
    assert (single.status_code, bulk.status_code) == (422, 422)
    assert any("p_mw_max" in what for _, what in problems(single))


def test_more_than_prequalified_is_refused(desk: Desk) -> None:
    terms = {"p_mw_max": 0.020001, "price_eur_per_mwh": 5.0}
    answer = desk.ask("agg", "POST", "/orders", json=desk.order(terms=terms))
    assert problems(answer) == [
        ("order.terms", "export up to 0.020001 MW, prequalified for 20000 W")
    ]


def test_same_key_same_answer_other_content_conflict(desk_on_each: Desk) -> None:
    desk = desk_on_each
    key = {"Idempotency-Key": "k-1"}
    first = desk.ask("agg", "POST", "/orders", json=desk.order(), headers=key)
    again = desk.ask("agg", "POST", "/orders", json=desk.order(), headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replay"] == "true"
    other = desk.order(terms={"p_mw_max": 0.01, "price_eur_per_mwh": 5.0})
    assert desk.ask("agg", "POST", "/orders", json=other, headers=key).status_code == 409
    bulk = desk.ask("agg", "POST", "/orders/bulk", json={"orders": [desk.order()]}, headers=key)
    assert bulk.status_code == 409
    assert len(desk.ask("agg", "GET", "/orders").json()["items"]) == 1
    mine = desk.ask("pro", "POST", "/orders", json=desk.order(), headers=key)
    assert mine.status_code == 201  # keys are each party's own
    assert mine.json()["id"] != first.json()["id"]


def test_a_key_that_met_a_refusal_is_free_again(desk: Desk) -> None:
    key = {"Idempotency-Key": "k-2"}
    bad = desk.ask("agg", "POST", "/orders", json=desk.order(asset="village/sgen:9"), headers=key)
    good = desk.ask("agg", "POST", "/orders", json=desk.order(), headers=key)
    assert (bad.status_code, good.status_code) == (422, 201)


def test_bulk_is_all_or_nothing_in_json_and_csv(desk_on_each: Desk) -> None:
    desk = desk_on_each
    orders = [
        desk.order(terms={"p_mw_max": 0.001 * k, "price_eur_per_mwh": k}) for k in range(1, 6)
    ]
    taken = desk.ask("agg", "POST", "/orders/bulk", json={"orders": orders})
    assert [each["terms"]["price_eur_per_mwh"] for each in taken.json()["orders"]] == [
        1,
        2,
        3,
        4,
        5,
    ]
    bad = desk.ask(
        "agg",
        "POST",
        "/orders/bulk",
        json={"orders": [*orders, desk.order(asset="village/sgen:9")]},
    )
    assert problems(bad) == [("orders[5].asset", "is unknown")]
    text = (
        "asset,delivery_day,kind,p_mw_max,price_eur_per_mwh\n"
        f"village/sgen:3,{DAY},generation,0.01,7\nvillage/sgen:3,{DAY},generation,0.002,\n"
    )
    headers = {"content-type": "text/csv"}
    half = desk.ask("agg", "POST", "/orders/bulk", content=text, headers=headers)
    assert half.status_code == 422
    assert any("orders[1]" in where for where, _ in problems(half))
    whole = desk.ask(
        "agg", "POST", "/orders/bulk", content=text.replace(",\n", ",9\n"), headers=headers
    )
    assert whole.status_code == 201, whole.text
    assert len(desk.ask("agg", "GET", "/orders").json()["items"]) == 7


def test_pages_have_one_order_and_no_gaps(desk_on_each: Desk) -> None:
    desk = desk_on_each
    for size in (3, 4):
        desk.ask("agg", "POST", "/orders/bulk", json={"orders": [desk.order()] * size})
    seen: list[str] = []
    cursor = None
    while True:
        more = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = desk.ask("agg", "GET", "/orders", params=more).json()
        seen += [row["id"] for row in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    whole = [row["id"] for row in desk.ask("agg", "GET", "/orders").json()["items"]]
    assert seen == whole
    assert len(set(seen)) == 7
    for bad in ("x", "bm9wZQ==", "WzEsMiwzXQ=="):
        assert desk.ask("agg", "GET", "/orders", params={"cursor": bad}).status_code == 422


def test_after_the_gate_an_order_is_late_and_says_so(desk_on_each: Desk) -> None:
    desk = desk_on_each
    early = desk.ask("agg", "POST", "/orders", json=desk.order()).json()
    desk.set_now(GATE)
    late = desk.ask("agg", "POST", "/orders", json=desk.order())
    assert late.status_code == 201
    assert (late.json()["state"], late.json()["in_book"]) == ("late", False)
    assert late.json()["received_at"] == "2026-11-22T12:30:00.000000Z"
    cancel = desk.ask("agg", "POST", f"/orders/{early['id']}/cancel", json={"reason": "sold"})
    assert cancel.status_code == 409


def test_withdrawn_before_the_gate(desk_on_each: Desk) -> None:
    desk = desk_on_each
    name = desk.ask("agg", "POST", "/orders", json=desk.order()).json()["id"]
    done = desk.ask("agg", "POST", f"/orders/{name}/cancel", json={"reason": "outage"})
    assert (done.status_code, done.json()["in_book"]) == (200, False)
    again = desk.ask("agg", "POST", f"/orders/{name}/cancel", json={"reason": "outage"})
    assert again.status_code == 409


def test_days_too_far_ahead_and_wrong_days(desk: Desk) -> None:
    far = (GATE + timedelta(days=30)).date().isoformat()
    assert desk.ask("agg", "POST", "/orders", json=desk.order(delivery_day=far)).status_code == 422
    for wrong in ("2026-13-01", "tomorrow", 5, "0001-01-01"):
        answer = desk.ask("agg", "POST", "/orders", json=desk.order(delivery_day=wrong))
        assert answer.status_code == 422, wrong


def test_a_body_too_large_is_refused(desk: Desk) -> None:
    body = b" " * (desk.market.limits.body_bytes_max + 1)
    assert desk.ask("agg", "POST", "/orders", content=body).status_code == 413

    def parts() -> Any:
        for _ in range(5):
            yield b" " * 1_000_000

    assert desk.ask("agg", "POST", "/orders", content=parts()).status_code == 413


def test_the_regulator_sees_all_orders_and_the_log_holds_them(desk_on_each: Desk) -> None:
    from dso.api.routes_ledger import post_waiting_actions
    from ledger_adapter.actions import open_action
    from ledger_adapter.commitment import commit_record

    desk = desk_on_each
    first = desk.ask("agg", "POST", "/orders", json=desk.order()).json()["id"]
    desk.ask("rival", "POST", "/orders", json=desk.order(asset="village/sgen:4"))
    desk.ask("agg", "POST", f"/orders/{first}/cancel", json={"reason": "outage"})
    desk.set_now(GATE)
    desk.ask("agg", "POST", "/orders", json=desk.order())
    assert post_waiting_actions(desk.market) == 4
    assert post_waiting_actions(desk.market) == 0
    rows = desk.ask("aud", "GET", "/orders/export", params={"day": DAY}).json()["items"]
    assert [(row["number"], row["state"], row["cancelled_number"]) for row in rows] == [
        (1, "cancelled", 3), (2, "booked", None), (4, "late", None),
    ]  # fmt: skip
    assert [row["participant"] for row in rows] == ["agg", "rival", "agg"]
    assert rows[0]["cancel_reason"] == "outage"
    for party in ("agg", "pro", "plan", "meter"):
        answer = desk.ask(party, "GET", "/orders/export", params={"day": DAY})
        assert answer.status_code == 403
    # complete against the action tree: every leaf behind a header is one of these actions
    size = desk.ask(None, "GET", "/ledger/actions/head").json()["size"]
    told = {a["leaf"]: (row, verb, a) for row in rows for verb, a in row["actions"].items()}
    assert sorted(told) == [1, 2, 3, 4]
    assert size == 5
    for leaf, (row, verb, a) in told.items():
        key = bytes.fromhex(a["batch_key"])
        proof = desk.ask(None, "GET", f"/ledger/actions/inclusion/{leaf}").json()
        terms = sha256_hex(canonical_json(row["terms"]))
        record = open_action(
            {
                "action": a["action"], "actor": row["participant"], "role": a["role"],
                "verb": verb, "reason": a["reason"], "at_utc": a["at_utc"],
                "clock": "market clock",
                "object": f"order village/{DAY}/{row['number']} {row['id']} terms {terms}",
            }
        )  # fmt: skip
        subject = desk.market.services.keys.subjects.run_keys([record.subject], key)
        assert commit_record("action", record, subject[record.subject]).hex() == proof["leaf"]
