"""`dso access`: a client that is revoked gets no token, a key that was stolen opens nothing."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from dso.api.credentials import BadSecret, check_secret
from dso.api.tokens import BadToken, Caller, TokenRing
from dso.bootstrap import open_services
from dso.cli.main import main
from dso.clock import SystemClock
from dso.store.access import page_actions

ROOM = Caller(client="c", party="room", role="operator")


def access(out: Path, *words: str) -> int:
    return main(["access", *words, "--out", str(out), "--keys", str(out / "keys")])


def test_a_revoked_client_gets_no_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.joinpath("keys").mkdir()
    assert access(tmp_path, "add", "--party", "room", "--role", "operator") == 0
    said = dict(line.split() for line in capsys.readouterr().out.splitlines())
    now = SystemClock().now()
    with closing(open_services(None, out=tmp_path, keys=tmp_path / "keys")) as services:
        store = services.store
        client = check_secret(store, said["client_id"], said["client_secret"], now=now)
        assert client.party == "room"
        with store.transaction() as connection:
            (action,) = page_actions(connection, actor=None, after=0, limit=10)
        assert (action["verb"], said["client_secret"] in str(action)) == ("vouch", False)
    assert access(tmp_path, "revoke", "--client", said["client_id"]) == 0
    assert "is revoked" in capsys.readouterr().out
    services = open_services(None, out=tmp_path, keys=tmp_path / "keys")
    with closing(services), pytest.raises(BadSecret):
        check_secret(services.store, said["client_id"], said["client_secret"], now=now)
    assert access(tmp_path, "add", "--party", "room", "--role", "auditor") == 2  # another role
    assert access(tmp_path, "revoke", "--client", "c-unknown") == 2
    assert access(tmp_path, "revoke") == 2
    assert "--client: is needed" in capsys.readouterr().err


def test_a_rotation_keeps_tokens_and_a_theft_ends_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(open_services(None, out=tmp_path, keys=tmp_path / "keys")) as services:
        issuer = services.keys.signer.key.name
    ring = TokenRing(tmp_path / "keys", issuer=issuer, clock=SystemClock())
    before = ring.sign(ROOM)
    assert access(tmp_path, "rotate") == 0
    assert "signs from now on" in capsys.readouterr().out
    after = ring.sign(ROOM)
    assert ring.verify(before) == ring.verify(after) == ROOM
    assert access(tmp_path, "rotate", "--stolen") == 0
    for token in (before, after):
        with pytest.raises(BadToken):
            ring.verify(token)
    assert ring.verify(ring.sign(ROOM)) == ROOM
