"""Which channel carries letters to devices: read from TOML, checked once, paths made absolute."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.errors import InputError, Problem, refuse_if_any

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatch.channels.port import Channel, DeviceLink

ChannelKind = Literal["mqtt", "http", "files"]
LOOPBACK_CALLBACK: Final = "/devices/"
PositiveSeconds = Annotated[float, Field(gt=0.0, le=86_400.0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttPlan:
    """A broker and how to be known there; ``password_variable`` names an environment variable."""

    url: str
    root: str
    client_id: str
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    password_variable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPlan:
    """Addresses of devices, whom to trust, and how patient to be."""

    callbacks: Mapping[str, str]
    authority: Path | None = None
    timeout_s: float = 5.0
    fetch_every_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPlan:
    """One channel: exactly the part that its kind needs is there."""

    kind: ChannelKind
    mqtt: MqttPlan | None = None
    http: HttpPlan | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChannel:
    """A channel that is ready, and whether its way to the devices is open now."""

    name: str
    channel: Channel
    is_up: Callable[[], bool]
    trouble: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLink:
    """A device's end that is ready; ``turn`` waits for what comes, at most so long [s]."""

    link: DeviceLink
    turn: Callable[[float], None]
    close: Callable[[], None] = field(default=lambda: None)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True, frozen=True)


class _Mqtt(_Strict):
    url: str
    root: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")] = "gridclear/v1"
    client_id: Annotated[str, Field(min_length=1, max_length=200)] = "gridclear-market"
    authority: str | None = None
    certificate: str | None = None
    key: str | None = None
    password_variable: str | None = None


class _Http(_Strict):
    callbacks: Annotated[dict[str, str], Field(min_length=1)]
    authority: str | None = None
    timeout_s: PositiveSeconds = 5.0
    fetch_every_s: PositiveSeconds = 5.0


class _Files(_Strict):
    folder: str


class _File(_Strict):
    channel: ChannelKind
    mqtt: _Mqtt | None = None
    http: _Http | None = None
    files: _Files | None = None

    @model_validator(mode="after")
    def _one_part(self) -> Self:
        given = [name for name in ("mqtt", "http", "files") if getattr(self, name) is not None]
        if given != [self.channel]:
            raise ValueError(f"channel {self.channel!r} needs the table [{self.channel}] alone")
        return self


def read_channel(path: Path) -> ChannelPlan:
    """Read a channel's file; relative paths in it start where it stands.

    Parameters
    ----------
    path : Path
        TOML with ``channel`` and one table of that name.

    Raises
    ------
    InputError
        With everything that is wrong in the file.
    """
    try:
        found = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError([Problem(where=str(path), what=f"cannot be read ({error})")]) from error
    except ValidationError as error:
        problems = [
            Problem(
                where=str(path),
                what=f"{'.'.join(str(part) for part in fault['loc']) or 'file'}: "
                f"{fault['msg'].removeprefix('Value error, ')}",
            )
            for fault in error.errors(include_url=False)
        ]
        raise InputError(problems) from error
    here = path.resolve().parent

    def beside(name: str | None) -> Path | None:
        return None if name is None else here / name

    mqtt, http = found.mqtt, found.http
    plan = ChannelPlan(
        kind=found.channel,
        mqtt=None
        if mqtt is None
        else MqttPlan(
            url=mqtt.url,
            root=mqtt.root,
            client_id=mqtt.client_id,
            authority=beside(mqtt.authority),
            certificate=beside(mqtt.certificate),
            key=beside(mqtt.key),
            password_variable=mqtt.password_variable,
        ),
        http=None
        if http is None
        else HttpPlan(
            callbacks=http.callbacks,
            authority=beside(http.authority),
            timeout_s=http.timeout_s,
            fetch_every_s=http.fetch_every_s,
        ),
        folder=None if found.files is None else here / found.files.folder,
    )
    refuse_if_any(_missing_files(plan, path))
    return plan


def _missing_files(plan: ChannelPlan, path: Path) -> list[Problem]:
    part = plan.mqtt or plan.http
    names = ("authority", "certificate", "key")
    files = {} if part is None else {name: getattr(part, name, None) for name in names}
    return [
        Problem(where=str(path), what=f"{name}: {file} does not exist")
        for name, file in files.items()
        if file is not None and not file.exists()
    ]
