"""`dso audit`: check what was published, offline and without trusting anybody."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dso.audit.replay import RunReplay
    from ledger_adapter.verify.bundle import Report
    from ledger_adapter.verify.receipt import TrustPolicy

DESCRIPTION: Final = "Check what was published, offline and without trusting anybody."

EPILOG: Final = """\
example:
  dso audit verify out/day/bundle --key out/day/operator.vkey
  dso audit replay out/day/bundle --key out/day/operator.vkey --run day-ahead
  dso audit report out/day/bundle --key out/day/operator.vkey --replay --out audit.html
  dso audit explain

Take the operator's key from the operator, not from who gave you the bundle."""

VERIFY_EPILOG: Final = """\
examples:
  dso audit verify out/day/bundle --key out/day/operator.vkey
  dso audit verify receipt.tlog-proof --key operator.vkey --witness witness.vkey
  dso audit verify disclosure.json --key operator.vkey
  dso audit verify out/tiles --key operator.vkey
  dso audit verify out/day/bundle --key operator.vkey --anchor-evidence anchor-evidence.json \\
      --block-hash 0x.. --anchor-contract 0x..     its head also stands on a chain
  python -m ledger_adapter.verify out/day/bundle --key operator.vkey     the same, on its own

exit codes:
  0  it holds
  1  it does not: the first file or statement that does not hold is named
  2  the bundle or the key cannot be read"""

REPLAY_EPILOG: Final = """\
examples:
  dso audit replay out/day/bundle --key out/day/operator.vkey
  dso audit replay out/day/bundle --key out/day/operator.vkey --run day-ahead --run settlement

The bundle is verified first. Then each clearing runs again on the inputs it committed to, and
every price, award and trade is compared; the settlement is settled again. Energy and money must
be equal, other numbers within 1e-6 of their unit. Use the versions that the bundle names: another
release of the product or of a library may end at another of two equally good optima.

exit codes:
  0  everything is what is computed again
  1  the bundle does not hold, or a result is not what its inputs give
  2  the bundle or the key cannot be read"""

REPORT_EPILOG: Final = """\
example:
  dso audit report out/day/bundle --key out/day/operator.vkey --replay --out audit.html

exit codes: those of verify and replay; the page is written in any case that can be read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso audit`."""
    from ledger_adapter.verify import command

    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")

    def add(name: str, summary: str, description: str, epilog: str) -> argparse.ArgumentParser:
        return actions.add_parser(
            name, help=summary, description=description, epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip

    verify = add(
        "verify",
        "check a bundle, a receipt, a disclosure or tiles against the operator's key",
        "Check every file of a bundle, its proofs and the signed checkpoint.",
        VERIFY_EPILOG,
    )
    command.add_arguments(verify)
    replay = add(
        "replay",
        "clear and settle again from the committed inputs, and compare",
        "Clear and settle again from the inputs that the bundle committed to, and compare.",
        REPLAY_EPILOG,
    )
    report = add(
        "report",
        "write an audit report to print and sign",
        "Verify a bundle and write what was found as one page to print and sign.",
        REPORT_EPILOG,
    )
    for parser in (replay, report):
        command.add_arguments(parser)
        parser.add_argument(
            "--run", dest="runs", action="append", default=[], metavar="NAME",
            help="replay this run only; may be repeated (default: all)",
        )  # fmt: skip
    report.add_argument("--replay", action="store_true", help="clear and settle again as well")
    report.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page")
    explain = add(
        "explain",
        "what each check proves and what it does not",
        "Say what each check proves and what it does not.",
        "example:\n  dso audit explain out/day/bundle",
    )
    explain.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="a bundle folder")


def run(arguments: argparse.Namespace) -> int:
    """Run the action; exit codes are those of the stand-alone verifier."""
    from ledger_adapter.verify.bundle import Unreadable
    from ledger_adapter.verify.canonical import Malformed

    actions = {"verify": _verify, "replay": _replay, "report": _report, "explain": _explain}
    try:
        return actions[arguments.action](arguments)
    except (Unreadable, Malformed) as error:
        sys.stderr.write(f"UNREADABLE: {error}\n")
        return 2


def _verify(arguments: argparse.Namespace) -> int:
    from ledger_adapter.verify import command

    return command.run(arguments)


def _explain(arguments: argparse.Namespace) -> int:
    from dso.audit.explain import explain

    sys.stdout.write(explain(arguments.bundle))
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    from dso.audit.replay import replay_bundle

    # Nothing is computed from a bundle that somebody touched.
    code = _verify(arguments)
    if code:
        return code
    print("Replay:")
    report = replay_bundle(arguments.target, only=arguments.runs, heard=_say)
    if report.left_out:
        print(f"  not run again: {', '.join(report.left_out)}")
    verdict = "HOLDS: every result is" if report.holds else "DOES NOT HOLD: a result is not"
    print(f"{verdict} what its committed inputs give")
    return 0 if report.holds else 1


def _say(run: RunReplay) -> None:
    found = run.comparison
    how = "equal bytes" if found.identical else f"equal within {found.worst:.1e}"
    counts = f"{found.cells:,} files"
    if run.kind == "clearing":
        counts = (
            f"{found.prices:,} prices, {found.awards:,} awards, trades of {run.trading_periods} "
            f"of {run.periods} periods"
        )
    print(f"  {run.name}: {counts}: {how if found.holds else 'DIFFERS'}", flush=True)
    for text in (*found.notes, *found.differences):
        print(f"    {text}")


def _report(arguments: argparse.Namespace) -> int:
    from data.canonical import write_atomically
    from dso.audit.replay import replay_bundle
    from dso.audit.report import build_report
    from ledger_adapter.verify.bundle import verify_bundle

    policy = _policy(arguments)
    found = verify_bundle(arguments.target, policy.key.text)
    names = _cosigners(arguments, policy, found)
    replay = None
    if arguments.replay and found.holds:
        replay = replay_bundle(arguments.target, only=arguments.runs)
    page = build_report(
        arguments.target, found, key_text=policy.key.text, replay=replay, cosigners=names
    )
    write_atomically(arguments.out, page)
    print(f"Report: {arguments.out}")
    return 0 if found.holds and (replay is None or replay.holds) else 1


def _policy(arguments: argparse.Namespace) -> TrustPolicy:
    from ledger_adapter.verify.command import read_policy

    return read_policy(
        arguments.key,
        rotations=arguments.rotation,
        witnesses=arguments.witness,
        quorum=arguments.quorum,
    )


def _cosigners(
    arguments: argparse.Namespace, policy: TrustPolicy, found: Report
) -> tuple[str, ...]:
    from ledger_adapter.verify.receipt import same_head

    if arguments.cosigned is None or not found.holds:
        return ()
    checkpoint = (arguments.target / "checkpoint").read_bytes()
    return same_head(arguments.cosigned.read_bytes(), checkpoint, policy)
