"""Channels in TOML and instructions in tables: read whole, or refused with every problem."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data.errors import InputError
from dso.bootstrap import load_letter_key, open_channel, open_device_link, read_letter_keys
from dso.realtime.channels import read_channel
from dso.realtime.told_table import one_told, read_told_table

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "channels"


def plan_file(folder: Path, text: str) -> Path:
    path = folder / "channel.toml"
    path.write_text(text)
    return path


def problems_of(refused: pytest.ExceptionInfo[InputError]) -> str:
    return "; ".join(str(problem) for problem in refused.value.problems)


def test_the_channels_that_come_along_are_read() -> None:
    plans = [read_channel(path) for path in sorted(CONFIGS.glob("*.toml"))]
    assert {plan.kind for plan in plans} == {"mqtt"}
    assert plans[0].mqtt is not None
    assert plans[0].mqtt.url == "mqtt://127.0.0.1:1883"


def test_paths_start_where_the_file_stands(tmp_path: Path) -> None:
    path = plan_file(tmp_path, 'channel = "files"\n[files]\nfolder = "exchange"\n')
    assert read_channel(path).folder == tmp_path / "exchange"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('channel = "mqtt"\n[files]\nfolder = "x"\n', "needs the table [mqtt] alone"),
        ('channel = "pigeon"\n', "channel:"),
        ('channel = "mqtt"\n[mqtt]\nurl = 5\nroof = "x"\n', "mqtt.roof"),
        ('channel = "mqtt"\n[mqtt]\nurl = "mqtt://h"\nroot = "a/#"\n', "mqtt.root"),
        ('channel = "mqtt"\n[mqtt]\nurl = "mqtts://h"\nauthority = "no.pem"\n', "does not exist"),
        ('channel = "http"\n[http]\ncallbacks = {}\n', "http.callbacks"),
        ('channel = "http"\n[http]\ntimeout_s = nan\n[http.callbacks]\na = "b"\n', "timeout_s"),
        ("channel = ", "cannot be read"),
    ],
)
def test_a_channel_that_is_none_is_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(InputError) as refused:
        read_channel(plan_file(tmp_path, text))
    assert what in problems_of(refused)


def test_a_password_comes_from_where_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'channel = "mqtt"\n[mqtt]\nurl = "mqtt://u@127.0.0.1"\npassword_variable = "NO_SUCH"\n'
    plan = read_channel(plan_file(tmp_path, text))
    with pytest.raises(InputError, match="NO_SUCH is not set"):
        open_channel(plan)
    monkeypatch.setenv("NO_SUCH", "secret")
    open_channel(plan).channel.close()


def test_a_device_listens_only_where_its_address_says(tmp_path: Path) -> None:
    text = 'channel = "http"\n[http.callbacks]\n"sgen:1" = "https://example.org/devices/sgen:1"\n'
    plan = read_channel(plan_file(tmp_path, text))
    for asset in ("sgen:1", "sgen:2"):
        with pytest.raises(InputError, match="to listen at"):
            open_device_link(plan, asset)


def test_the_key_is_made_once_and_its_public_half_is_for_devices(tmp_path: Path) -> None:
    key = load_letter_key(tmp_path / "keys")
    assert load_letter_key(tmp_path / "keys") == key
    assert read_letter_keys(tmp_path / "keys" / "dispatch.vkey") == {key.name: key.public}
    assert (tmp_path / "keys" / "dispatch.key").stat().st_mode & 0o077 == 0
    (tmp_path / "keys" / "dispatch.key").write_text("PRIVATE")
    with pytest.raises(InputError):
        load_letter_key(tmp_path / "keys")
    with pytest.raises(InputError, match="no verifier key"):
        read_letter_keys(tmp_path / "keys" / "none")


def test_a_table_gives_one_instruction_a_row(tmp_path: Path) -> None:
    path = tmp_path / "told.csv"
    path.write_text(
        "asset,kind,p_kw,p_min_kw,p_max_kw,minutes,reason\n"
        "sgen:1,setpoint,4.5,,,15,line 7\n"
        "load:2,envelope,,-11,0,60,trafo 1\n"
        "load:3,shed,,0,,5,emergency\n"
    )
    told = read_told_table(path, NOON)
    assert [(each.kind, each.p_w, each.p_min_w, each.p_max_w) for each in told] == [
        ("setpoint", 4500, None, None), ("envelope", None, -11000, 0), ("shed", None, 0, None),
    ]  # fmt: skip
    assert told[1].expires_at == NOON + timedelta(hours=1)


def test_all_rows_that_are_wrong_are_named(tmp_path: Path) -> None:
    path = tmp_path / "told.csv"
    path.write_text(
        "asset,kind,p_kw,p_min_kw,p_max_kw,minutes,reason\n"
        ",setpoint,4,,,15,x\n"
        "a,setpoint,nan,,,15,x\n"
        "a,setpoint,,1,,15,x\n"
        "a,envelope,,2,1,15,x\n"
        "a,droop,1,,,15,x\n"
        "a,setpoint,1,,,0,\n"
        "a,setpoint,1,,,15,x,y\n"
        "a,setpoint\n"
    )
    with pytest.raises(InputError) as refused:
        read_told_table(path, NOON)
    rows = {int(problem.where.split()[2]) for problem in refused.value.problems}
    assert rows == {2, 3, 4, 5, 6, 7, 8, 9}
    for text in ("", "asset,kind,minutes,reason,wish\na,setpoint,1,x,y\n", "asset\n"):
        path.write_text(text)
        with pytest.raises(InputError):
            read_told_table(path, NOON)
    with pytest.raises(InputError, match="cannot be read"):
        read_told_table(tmp_path / "none.csv", NOON)


def test_options_are_read_like_a_row() -> None:
    row = {"asset": "a", "kind": "setpoint", "q_kvar": "-0.5", "minutes": "0.5", "reason": "x"}
    assert one_told(row, "here", NOON).q_var == -500
