"""What docs/channels.md shows is what the code writes and reads."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from data.records.dispatch import INSTRUCTION_KINDS, Instruction
from dispatch.messages import LetterKey, Unreadable, open_letter, read_uplink, write_uplink
from dso.realtime.channels import read_channel

PAGE = Path(__file__).resolve().parents[3] / "docs" / "channels.md"
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_body_of_a_letter_is_written_so() -> None:
    told = Instruction(
        id="sgen:12/1780315200000", asset="sgen:12", sequence=1780315200000, kind="setpoint",
        issued_at=NOON, valid_from=NOON, expires_at=NOON + timedelta(minutes=2), p_w=4000,
        reason="line 7 overloaded",
    )  # fmt: skip
    key = LetterKey(name="market-1", seed=bytes(32))
    letter = json.loads(key.seal(told).text)
    assert letter["body"] == blocks("json")[0].strip()
    assert set(letter) == {"body", "key", "signature"}
    assert open_letter(json.dumps(letter).encode(), {"market-1": key.public}) == told


def test_the_messages_of_devices_are_read_and_written_so() -> None:
    lines = blocks("json")[1].splitlines()
    assert len(lines) == 4
    for line in lines:
        found = read_uplink(line.encode(), "sgen:12")
        assert not isinstance(found, Unreadable)
        assert write_uplink(found).decode() == line


def test_every_kind_stands_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"| `{kind}` |" in text for kind in INSTRUCTION_KINDS)


def test_the_channel_files_are_channel_files(tmp_path: Path) -> None:
    kinds = []
    for number, text in enumerate(blocks("toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        kinds.append(read_channel(path).kind)
    assert kinds == ["http", "files"]
