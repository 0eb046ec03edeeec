"""Topics of the broker, and who may use which.

``<root>/<asset>/down/<subject>`` carries letters to one device, ``<root>/<asset>/up/<subject>``
what it says. A device may read its own ``down`` and write its own ``up``, so the topic of a
message proves its sender as far as the broker's rights are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote

from data.errors import Problem, refuse_if_any
from data.records.dispatch import Acknowledgement, Presence
from dispatch.messages import TimeRequest, Uplink

DEFAULT_ROOT: Final = "gridclear/v1"
SAFE: Final = ":_.-"


def down_topic(root: str, asset: str, subject: str) -> str:
    """Return the topic of letters to a device.

    Examples
    --------
    >>> down_topic("gridclear/v1", "order:house 7/#", "setpoint")
    'gridclear/v1/order:house%207%2F%23/down/setpoint'
    """
    return f"{root}/{quote(asset, safe=SAFE)}/down/{subject}"


def up_topic(root: str, message: Uplink) -> str:
    """Return the topic of what a device says."""
    if isinstance(message, Acknowledgement):
        subject = "acknowledgement"
    elif isinstance(message, Presence):
        subject = "presence"
    elif isinstance(message, TimeRequest):
        subject = "time"
    else:
        subject = "telemetry"
    return f"{root}/{quote(message.asset, safe=SAFE)}/up/{subject}"


def sender_of(root: str, topic: str) -> str | None:
    """Return the asset whose ``up`` topic this is, or None."""
    parts = topic.removeprefix(f"{root}/").split("/")
    if not topic.startswith(f"{root}/") or len(parts) != 3 or parts[1] != "up":
        return None
    return unquote(parts[0])


def access_rules(market_user: str, *, root: str = DEFAULT_ROOT) -> str:
    """Return Mosquitto's access file: the market everywhere, each device in its own topics only.

    The user name of a device must be its asset as it stands in topics; with
    ``use_identity_as_username true`` it is the common name of its certificate.

    Parameters
    ----------
    market_user : str
        User name of the market.
    root : str
        First part of all topics.

    Raises
    ------
    InputError
        If a name would break the file or match more than itself.
    """
    refuse_if_any(_name_problems([("market_user", market_user), ("root", root)]))
    return "\n".join(
        [
            f"user {market_user}",
            f"topic write {root}/+/down/#",
            f"topic read {root}/+/up/#",
            "",
            f"pattern read {root}/%u/down/#",
            f"pattern write {root}/%u/up/#",
            "",
        ]
    )


def _name_problems(names: Iterable[tuple[str, str]]) -> list[Problem]:
    return [
        Problem(where=where, what=f"{name!r} is empty or holds a blank, +, # or %")
        for where, name in names
        if not name or any(mark in name for mark in " +#%\n\r\t")
    ]
