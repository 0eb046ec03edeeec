"""`dso dispatch`: give instructions to devices, listen to them, see what became of each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from data.records.dispatch import Activation
    from dispatch.agents.device_agent import Command, DeviceAgent
    from dispatch.dispatcher import Dispatcher
    from dispatch.instruction_log import InstructionLog
    from dispatch.messages import Heard
    from dso.realtime.channels import OpenChannel
    from dso.realtime.keep import TelemetryKeeper

DEFAULT_LOG: Final = Path("out/dispatch/instructions.jsonl")
POLL_S: Final = 0.2
STORE_EVERY_S: Final = 1.0
EXIT_UNANSWERED: Final = 1

DESCRIPTION: Final = """\
Send signed instructions to devices over a channel (MQTT, HTTP callbacks, files), listen to what
they say, and see what became of each instruction: ordered, acknowledged, active, then done, failed
or expired. Every change stands in a log with its time and reason."""

EPILOG: Final = """\
try it with the broker on this machine, in two terminals:
  dso dispatch device sgen:12 --channel configs/channels/local-broker.toml --p-max-kw 9 --for 60
  dso dispatch send --channel configs/channels/local-broker.toml --asset sgen:12 --p-kw 4 \\
      --minutes 1 --reason "line 7 overloaded"

then:
  dso dispatch listen --channel configs/channels/local-broker.toml --for 60
  dso dispatch status
  dso dispatch follow --channel FILE --store sqlite:///out/market/store.sqlite \\
      --market local-energy --feeder 1-MV-rural--2-sw
  dso dispatch rights --market-user market > rights.acl

A table (--table) has the columns asset, kind (setpoint | envelope | shed), p_kw, q_kvar, p_min_kw,
p_max_kw, minutes and reason; powers are injections, so taking from the grid is negative.

exit codes:
  0  done; send: every device has acknowledged
  1  send: an instruction was refused, or not answered while waiting
  2  bad input: every problem is listed and nothing is sent"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso dispatch`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")

    def action(name: str, summary: str, *, channel: bool) -> argparse.ArgumentParser:
        found = actions.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if channel:
            found.add_argument(
                "--channel", type=Path, required=True, metavar="FILE", help="TOML of the channel"
            )
            found.add_argument("--keys", type=Path, default=None, metavar="DIR", help="key folder")
        return found

    send = action("send", "send instructions and wait until they are in force", channel=True)
    send.add_argument("--table", type=Path, metavar="CSV", help="instructions, one a row")
    send.add_argument("--asset", metavar="ID", help="one device, e.g. sgen:12")
    send.add_argument("--p-kw", metavar="KW", help="injection to follow [kW]")
    send.add_argument("--q-kvar", metavar="KVAR", help="reactive injection to follow [kvar]")
    send.add_argument("--minutes", default="15", metavar="MIN", help="validity (default 15)")
    send.add_argument("--reason", default="", metavar="TEXT", help="why, for who is affected")
    send.add_argument("--wait", type=float, default=15.0, metavar="S", help="wait at most [s]")
    listen = action("listen", "print what devices say, and answer them", channel=True)
    listen.add_argument("--store", metavar="URL", help="database that keeps what devices report")
    listen.add_argument("--feeder", metavar="ID", help="where they are; with --store")
    follow = action("follow", "send what a running market tells, and keep reports", channel=True)
    follow.add_argument("--store", required=True, metavar="URL", help="the market's database")
    follow.add_argument("--market", required=True, metavar="ID", help="id of the rule set")
    follow.add_argument("--feeder", required=True, metavar="ID", help="id of the feeder")
    device = action("device", "run a simulated device that does as it is told", channel=True)
    device.add_argument("asset", metavar="ASSET", help="who it is")
    device.add_argument("--p-min-kw", default="0", metavar="KW", help="its envelope [kW]")
    device.add_argument("--p-max-kw", default="0", metavar="KW", help="its envelope [kW]")
    device.add_argument(
        "--market-key", type=Path, metavar="VKEY", help="dispatch.vkey of the market to trust"
    )
    device.add_argument(
        "--memory", type=Path, metavar="FILE", help="what it must not forget over a restart"
    )
    for one in (listen, follow, device):
        one.add_argument(
            "--for", type=float, default=None, dest="for_s", metavar="S", help="end after [s]"
        )
    status = action("status", "list what became of each instruction", channel=False)
    status.add_argument("--all", action="store_true", help="those that have ended, too")
    for one in (send, listen, follow, status):
        one.add_argument(
            "--log", type=Path, default=DEFAULT_LOG, metavar="FILE",
            help=f"log of instructions (default {DEFAULT_LOG})",
        )  # fmt: skip
    rights = action("rights", "print Mosquitto's access file for these topics", channel=False)
    rights.add_argument("--market-user", default="market", metavar="NAME", help="its user name")
    rights.add_argument("--root", default="gridclear/v1", metavar="TOPIC", help="first of topics")


def run(arguments: argparse.Namespace) -> int:
    """Do the action; return the exit code."""
    actions = {
        "send": _send, "listen": _listen, "follow": _follow, "device": _device, "status": _status,
        "rights": _rights,
    }  # fmt: skip
    return actions[arguments.action](arguments)


def _send(arguments: argparse.Namespace) -> int:
    from data.records.dispatch import ActivationState
    from dso.clock import Stopwatch, SystemClock
    from dso.realtime.told_table import one_told, read_told_table

    now = SystemClock().now()
    if arguments.table is not None:
        told = read_told_table(arguments.table, now)
    else:
        told = [
            one_told(
                {
                    "asset": arguments.asset or "", "kind": "setpoint",
                    "p_kw": arguments.p_kw or "", "q_kvar": arguments.q_kvar or "",
                    "minutes": arguments.minutes, "reason": arguments.reason,
                },
                "dso dispatch send", now,
            )
        ]  # fmt: skip
    opened, desk, _ = _desk(arguments)
    try:
        names = [each.instruction.id for each in desk.tell(told)]
        watch = Stopwatch.start()
        waiting = {ActivationState.ORDERED, ActivationState.ACKNOWLEDGED}
        while watch.elapsed_s() < arguments.wait:
            desk.listen(POLL_S)
            if not any(desk.activation(name).state in waiting for name in names):
                break
        found = [desk.activation(name) for name in names]
        _print_activations(found)
        good = {ActivationState.ACKNOWLEDGED, ActivationState.ACTIVE, ActivationState.DONE}
        if all(each.state in good for each in found):
            return 0
        if not opened.is_up():
            print(f"no way to {opened.name}: {opened.trouble() or 'no answer'}")
        return EXIT_UNANSWERED
    finally:
        desk.close()


def _listen(arguments: argparse.Namespace) -> int:
    from contextlib import closing

    from data.errors import InputError, Problem
    from dso.realtime.keep import TelemetryKeeper
    from dso.store import Store

    if (arguments.store is None) != (arguments.feeder is None):
        what = "--store and --feeder belong together"
        raise InputError([Problem(where="dso dispatch listen", what=what)])
    if arguments.store is None:
        opened, desk, _ = _desk(arguments)
        return _keep_listening(arguments, opened, desk)
    with closing(Store.open(arguments.store)) as store:
        opened, desk, _ = _desk(arguments)
        keeper = TelemetryKeeper(store, arguments.feeder)
        return _keep_listening(arguments, opened, desk, keeper=keeper)


def _follow(arguments: argparse.Namespace) -> int:
    from contextlib import closing

    from dso.realtime.follow import SetpointFollower
    from dso.realtime.keep import TelemetryKeeper
    from dso.store import Store

    with closing(Store.open(arguments.store)) as store:
        opened, desk, log = _desk(arguments)
        follower = SetpointFollower(
            store, desk, log, market=arguments.market, feeder=arguments.feeder
        )

        asked_at: list[datetime] = []

        def tell(now: datetime) -> None:
            if not asked_at or (now - asked_at[-1]).total_seconds() >= STORE_EVERY_S:
                asked_at[:] = [now]
                _print_activations(follower.turn(now))

        keeper = TelemetryKeeper(store, arguments.feeder)
        return _keep_listening(arguments, opened, desk, tell, keeper)


def _keep_listening(
    arguments: argparse.Namespace,
    opened: OpenChannel,
    desk: Dispatcher,
    tell: Callable[[datetime], None] = lambda _: None,
    keeper: TelemetryKeeper | None = None,
) -> int:
    """Print and keep what is heard until time is over, telling what there is to tell in between."""
    from dso.clock import Stopwatch, SystemClock

    clock, watch, was_up = SystemClock(), Stopwatch.start(), None
    try:
        again = desk.send_again()
        if again:
            print(f"{again} unanswered instructions sent again")
        while arguments.for_s is None or watch.elapsed_s() < arguments.for_s:
            tell(clock.now())
            heard = desk.listen(POLL_S)
            for message in heard:
                print(f"{clock.now():%H:%M:%S}Z {_words(message)}", flush=True)
            if keeper is not None:
                keeper.take(heard, clock.now())
                keeper.write(clock.now())
            if opened.is_up() != was_up:
                was_up = opened.is_up()
                state = "connected" if was_up else f"no way to it: {opened.trouble()}"
                print(f"{clock.now():%H:%M:%S}Z {opened.name}: {state}", flush=True)
    finally:
        if keeper is not None:
            keeper.write(clock.now(), at_once=True)
        desk.close()
    return 0


def _device(arguments: argparse.Namespace) -> int:
    from dispatch.agents.device_agent import AgentSettings, DeviceAgent
    from dispatch.agents.market_time import LocalTime
    from dispatch.agents.memory_file import read_memory, write_memory
    from dispatch.agents.station import Station
    from dso.bootstrap import load_letter_key, open_device_link, read_letter_keys
    from dso.cli.day import default_keys
    from dso.clock import Stopwatch, SystemClock
    from dso.realtime.channels import read_channel
    from dso.realtime.told_table import watts

    plan = read_channel(arguments.channel)
    if arguments.market_key is not None:
        keys = read_letter_keys(arguments.market_key)
    else:
        own = load_letter_key(arguments.keys or default_keys())
        keys = {own.name: own.public}
    settings = AgentSettings(
        asset=arguments.asset,
        keys=keys,
        p_min_w=watts(arguments.p_min_kw, "--p-min-kw"),
        p_max_w=watts(arguments.p_max_kw, "--p-max-kw"),
    )
    opened = open_device_link(plan, arguments.asset)
    memory = None if arguments.memory is None else read_memory(arguments.memory)
    agent = DeviceAgent(settings, memory)
    station, clock, watch = Station(agent, opened.link), SystemClock(), Stopwatch.start()
    last: Command | None = None
    reported_s = float("-inf")
    try:
        while arguments.for_s is None or watch.elapsed_s() < arguments.for_s:
            opened.turn(POLL_S / 4)
            at = LocalTime(counter_s=watch.elapsed_s(), wall=clock.now())
            station.turn(at)
            command = station.command(at)
            if arguments.memory is not None and agent.memory() != memory:
                memory = agent.memory()
                write_memory(arguments.memory, memory)
            if command != last or at.counter_s - reported_s > 10.0:
                # It does exactly what it is told, and nothing when it is told nothing.
                station.report(at, p_w=command.p_w or 0, q_var=command.q_var or 0)
                reported_s = at.counter_s
            if command != last:
                print(f"{clock.now():%H:%M:%S}Z {_command_words(agent, command)}", flush=True)
            last = command
    finally:
        opened.close()
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from data.errors import InputError, Problem
    from dispatch.activation import is_final
    from dispatch.instruction_log import InstructionLog

    if not arguments.log.exists():
        remedy = "dso dispatch send writes it"
        raise InputError([Problem(where=str(arguments.log), what="no such log", remedy=remedy)])
    log = InstructionLog(arguments.log, read_only=True)
    found = [each for each in log.activations.values() if arguments.all or not is_final(each)]
    _print_activations(found)
    counts: dict[str, int] = {}
    for each in log.activations.values():
        counts[each.state.value] = counts.get(each.state.value, 0) + 1
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none yet")
    return 0


def _rights(arguments: argparse.Namespace) -> int:
    from dispatch.channels.topics import access_rules

    print(access_rules(arguments.market_user, root=arguments.root), end="")
    return 0


def _desk(arguments: argparse.Namespace) -> tuple[OpenChannel, Dispatcher, InstructionLog]:
    """Open channel, key and log."""
    from dispatch.dispatcher import Dispatcher
    from dispatch.instruction_log import InstructionLog
    from dso.bootstrap import load_letter_key, open_channel
    from dso.cli.day import default_keys
    from dso.clock import SystemClock
    from dso.realtime.channels import read_channel

    plan = read_channel(arguments.channel)
    key = load_letter_key(arguments.keys or default_keys())
    log = InstructionLog(arguments.log)
    opened = open_channel(plan)
    desk = Dispatcher(channel=opened.channel, key=key, clock=SystemClock(), log=log)
    return opened, desk, log


def _print_activations(found: Iterable[Activation]) -> None:
    """Print one line for each: asset, what, until when, state and why."""
    for each in found:
        told, last = each.instruction, each.changes[-1]
        print(
            f"{told.asset:<14} {told.kind:<9} {_power_words(told.p_w, told.p_min_w, told.p_max_w)}"
            f"  until {_clock(told.expires_at)}  {each.state.value:<12} {_clock(last.at)}  "
            f"{last.reason}"
        )


def _power_words(p_w: int | None, p_min_w: int | None, p_max_w: int | None) -> str:
    if p_w is not None:
        return f"{p_w / 1000:10.3f} kW"
    if p_min_w is None and p_max_w is None:
        return f"{'-':>13}"
    low = "" if p_min_w is None else f"{p_min_w / 1000:g}"
    high = "" if p_max_w is None else f"{p_max_w / 1000:g}"
    return f"{low} to {high} kW"


def _clock(at: datetime) -> str:
    from data.periods import format_utc

    return format_utc(at)


def _words(message: Heard) -> str:
    """Say what was heard in one line."""
    from data.records.dispatch import Acknowledgement, Presence, Telemetry
    from dispatch.messages import TimeRequest, Undelivered

    if isinstance(message, Telemetry):
        store = "" if message.soc_wh is None else f", {message.soc_wh / 1000:g} kWh in store"
        volt = "" if message.vm_pu is None else f", {message.vm_pu:.4f} pu"
        power = f"{message.p_w / 1000:g} kW, {message.q_var / 1000:g} kvar"
        follows = message.active or "no setpoint"
        return f"{message.asset}: {power}{volt}{store}; follows {follows}"
    if isinstance(message, Acknowledgement):
        verb = "accepts" if message.accepted else "refuses"
        return f"{message.asset} {verb} {message.instruction} ({message.reason})"
    if isinstance(message, Presence):
        return f"{message.asset} is {'there' if message.online else 'gone'}"
    if isinstance(message, TimeRequest):
        return f"{message.asset} asks for the time"
    if isinstance(message, Undelivered):
        return f"{message.asset}: {message.instruction} not delivered ({message.reason})"
    return f"{message.sender}: unreadable ({message.reason})"


def _command_words(agent: DeviceAgent, command: Command) -> str:
    limits = f"{command.p_min_w / 1000:g} to {command.p_max_w / 1000:g} kW"
    asset = agent.settings.asset
    if command.p_w is None:
        return f"{asset} is free within {limits}: {command.reason}"
    return f"{asset} follows {command.p_w / 1000:g} kW ({command.setpoint}), within {limits}"
