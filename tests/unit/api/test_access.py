"""Who gets a token, for how long, and what it opens: roles, objects, keys, secrets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dso.api.credentials import FREE_FAILURES
from dso.api.limits import ApiLimits
from dso.api.tokens import LIFETIME, BadToken, Caller, TokenRing
from tests.support.api_market import NOW, Desk, make_desk

AGG = Caller(client="c-agg", party="agg", role="aggregator")
PARTY = {"name": "Sun GmbH", "role": "aggregator", "certification": "HRB 1234"}


def token_of(desk: Desk, said: dict[str, Any], **more: str) -> Any:
    form = {"grant_type": "client_credentials", "client_id": said["client_id"],
            "client_secret": said["client_secret"], **more}  # fmt: skip
    return desk.ask(None, "POST", "/token", data=form)


def approve(desk: Desk, number: int, **checks: bool) -> Any:
    body = {"approve": True, "checks": checks, "reason": "papers seen"}
    return desk.ask("op", "POST", f"/registrations/{number}/decision", json=body)


def test_from_application_to_order(desk_on_each: Desk) -> None:
    desk = desk_on_each
    said = desk.ask(None, "POST", "/registrations/parties", json=PARTY).json()
    assert token_of(desk, said).status_code == 401  # not approved yet
    incomplete = approve(desk, said["registration"], identity=True)
    assert incomplete.status_code == 422
    assert "checks.certification" in incomplete.text
    both = {"identity": True, "certification": True}
    assert approve(desk, said["registration"], **both).json()["state"] == "approved"
    assert approve(desk, said["registration"], **both).status_code == 409
    token = token_of(desk, said).json()
    assert token["expires_in"] == 300
    head = {"Authorization": f"Bearer {token['access_token']}"}
    point = {"kind": "connection_point", "id": "cp-new", "feeder": "village", "bus": 5,
             "party": said["party"], "import_w_max": 10_000, "export_w_max": 20_000}  # fmt: skip
    applied = desk.ask(None, "POST", "/registrations", json=point, headers=head).json()
    approve(desk, applied["id"], identity=True, grid=True)
    asset = {"kind": "asset", "id": "village/sgen:5", "connection_point": "cp-new",
             "technology": "pv",
             "import_w_max": 0, "export_w_max": 20_001, "certification": "VDE 4105"}  # fmt: skip
    large = desk.ask(None, "POST", "/registrations", json=asset, headers=head)
    assert "the connection's contract 20000 W" in large.text
    asset["export_w_max"] = 20_000
    applied = desk.ask(None, "POST", "/registrations", json=asset, headers=head).json()
    order = desk.order(asset="village/sgen:5")
    early = desk.ask(None, "POST", "/orders", json=order, headers=head)
    assert early.status_code == 422  # not prequalified yet
    approve(desk, applied["id"], certification=True, product=True, grid=True)
    taken = desk.ask(None, "POST", "/orders", json=order, headers=head)
    assert (taken.status_code, taken.json()["in_book"]) == (201, True)


def test_a_mandate_opens_a_connection(desk: Desk) -> None:
    wanted = desk.order(asset="village/sgen:4")
    assert desk.ask("agg", "POST", "/orders", json=wanted).status_code == 422
    mandate = {"kind": "mandate", "agent": "agg", "connection_point": "cp-rival", "scope": "trade"}
    foreign = desk.ask("pro", "POST", "/registrations", json=mandate)
    assert foreign.status_code == 422  # only who is connected there gives one
    number = desk.ask("rival", "POST", "/registrations", json=mandate).json()["id"]
    assert desk.ask("agg", "GET", f"/registrations/{number}").status_code == 404
    approve(desk, number, identity=True)
    assert desk.ask("agg", "POST", "/orders", json=wanted).status_code == 201


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer x", "Basic abc", "Bearer a.b.c", "Bearer " + "a" * 5000],
)
def test_what_is_no_token(desk: Desk, header: str) -> None:
    answer = desk.ask(None, "GET", "/orders", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_an_expired_or_foreign_token(desk: Desk) -> None:
    head = desk.headers("agg")
    assert desk.http.get("/api/v1/orders", headers=head).status_code == 200
    desk.clock.at = NOW + LIFETIME
    assert desk.http.get("/api/v1/orders", headers=head).status_code == 401
    ring = desk.ring
    kid = ring.rotate()
    claims = {"iss": "test", "aud": "gridclear-api", "sub": "c", "party": "op", "jti": "1",
              "role": "operator", "iat": desk.clock.at,
              "exp": desk.clock.at + LIFETIME}  # fmt: skip
    own = jwt.encode(claims, Ed25519PrivateKey.generate(), "EdDSA", headers={"kid": kid})
    blank = jwt.encode(claims, None, "none", headers={"kid": kid})
    shared = jwt.encode(claims, "k" * 64, "HS256", headers={"kid": kid})
    for forged in (own, blank, shared):
        with pytest.raises(BadToken):
            ring.verify(forged)
    elsewhere = TokenRing(ring._path.parent, issuer="another market", clock=desk.clock)
    with pytest.raises(BadToken):
        ring.verify(elsewhere.sign(AGG))


def test_keys_rotate_without_downtime_and_stolen_ones_stop(desk: Desk) -> None:
    other_process = TokenRing(desk.ring._path.parent, issuer="test", clock=desk.clock)
    before = desk.ring.sign(AGG)
    other_process.rotate()
    after = desk.ring.sign(AGG)
    assert jwt.get_unverified_header(before)["kid"] != jwt.get_unverified_header(after)["kid"]
    assert desk.ring.verify(before) == desk.ring.verify(after) == AGG
    other_process.rotate(stolen=True)
    for old in (before, after):
        with pytest.raises(BadToken):
            desk.ring.verify(old)
    assert desk.ring.verify(desk.ring.sign(AGG)) == AGG
    # a key that was replaced signs nothing that is accepted for longer than a token lives
    other_process.rotate()
    kept = desk.ring.sign(AGG)
    desk.ring.rotate()
    desk.clock.at += LIFETIME + timedelta(seconds=1)
    with pytest.raises(BadToken):
        desk.ring.verify(kept)
    assert desk.ring._path.stat().st_mode & 0o777 == 0o600


def test_guessing_a_secret_is_slowed(desk: Desk) -> None:
    said = desk.ask(None, "POST", "/registrations/parties", json=PARTY).json()
    approve(desk, said["registration"], identity=True, certification=True)
    for _ in range(FREE_FAILURES + 1):
        assert token_of(desk, said, client_secret="guess").status_code == 401
    waits = []
    for _ in range(3):
        locked = token_of(desk, said)  # not even the right secret is looked at
        assert locked.status_code == 429
        waits.append(int(locked.headers["retry-after"]))
        desk.clock.at += timedelta(seconds=waits[-1])
        assert token_of(desk, said, client_secret="guess").status_code == 401
    assert waits == sorted(set(waits))  # longer each time
    desk.clock.at += timedelta(seconds=400)
    assert token_of(desk, said).status_code == 200
    assert token_of(desk, said, client_id="c-unknown").status_code == 401


def test_rates_are_limited_per_party_and_address(tmp_path: Any) -> None:
    limits = ApiLimits(requests_per_s=0.001, burst=3, anonymous_per_s=0.001, anonymous_burst=4)
    desk = make_desk(None, tmp_path, limits)
    codes = [desk.ask("agg", "GET", "/runs").status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    assert desk.ask("rival", "GET", "/runs").status_code == 200
    codes = [desk.ask(None, "GET", "/orders").status_code for _ in range(5)]
    assert codes == [401, 401, 401, 401, 429]
    desk.market.services.close()


def test_secrets_are_kept_as_argon2_hashes(desk: Desk) -> None:
    desk.ask(None, "POST", "/registrations/parties", json=PARTY)
    with desk.market.services.store.transaction() as connection:
        kept = connection.exec_driver_sql("SELECT secret_hash FROM api_client").scalars().all()
    assert kept
    assert all(each.startswith("$argon2id$") for each in kept)
