"""The network of a study by reference: SimBench code, library name, or a JSON or .m file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from data.errors import InputError, Problem
from data.readers.matpower import load_matpower, packaged_case
from data.readers.simbench import load_simbench
from data.records.network import Network

if TYPE_CHECKING:
    from data.readers.pandapower_table import PandapowerNet

SIMBENCH: Final = "simbench:"
PANDAPOWER: Final = "pandapower:"
MATPOWER: Final = "matpower:"
MATPOWER_SUFFIX: Final = ".m"
# pandapower's JSON names the classes to build; a study from elsewhere may name nothing but tables.
ALLOWED_PACKAGES: Final = frozenset({"pandapower", "pandas", "numpy", "networkx", "geopandas"})
ALLOWED_BUILTINS: Final = frozenset({"tuple", "set", "frozenset", "complex"})


def is_library_reference(reference: str) -> bool:
    """Tell whether a reference names a library network rather than a file."""
    return reference.startswith((SIMBENCH, PANDAPOWER, MATPOWER))


def load_network(reference: str, folder: Path) -> Network:
    """Load the network that a study refers to.

    Parameters
    ----------
    reference : str
        ``simbench:CODE``, ``pandapower:NAME`` (a function of ``pandapower.networks``),
        ``matpower:CASE`` (of the installed ``matpower`` package), or the name of a pandapower JSON
        or MATPOWER ``.m`` file in ``folder``.
    folder : Path
        The study folder.

    Returns
    -------
    Network
        Named by the reference.

    Raises
    ------
    InputError
        Unknown references, unreadable or foreign files, and what the network itself has wrong.
    """
    if reference.startswith(SIMBENCH):
        return load_simbench(reference.removeprefix(SIMBENCH)).network
    if reference.startswith(MATPOWER):
        return load_matpower(packaged_case(reference.removeprefix(MATPOWER)))
    if reference.startswith(PANDAPOWER):
        return _library_network(reference)
    if reference.endswith(MATPOWER_SUFFIX):
        network = load_matpower(_own_file(reference, folder))
        return dataclasses.replace(network, name=reference)
    from data.readers.pandapower_net import network_from_pandapower

    return network_from_pandapower(_file_net(reference, folder), reference)


@lru_cache(maxsize=8)
def _library_network(reference: str) -> Network:
    """Return a network of pandapower; building it anew takes most of a second each time."""
    from data.readers.pandapower_net import network_from_pandapower

    return network_from_pandapower(_library_net(reference), reference)


def _library_net(reference: str) -> PandapowerNet:
    import pandapower
    import pandapower.networks

    name = reference.removeprefix(PANDAPOWER)
    make = getattr(pandapower.networks, name, None) if name.isidentifier() else None
    problem = Problem(
        where="network",
        what=f"pandapower.networks has no network {name!r} that needs no arguments",
        remedy="e.g. pandapower:case33bw",
    )
    if not callable(make) or name.startswith("_"):
        raise InputError([problem])
    try:
        net = make()
    except TypeError as error:
        raise InputError([problem]) from error
    if not isinstance(net, pandapower.pandapowerNet):
        raise InputError([problem])
    return cast("PandapowerNet", net)


def _own_file(reference: str, folder: Path) -> Path:
    if Path(reference).name != reference:
        problem = f"network {reference!r} is not a file of the study folder"
        raise InputError([Problem(where="study.toml", what=problem, remedy="copy it there")])
    return folder / reference


def _file_net(reference: str, folder: Path) -> PandapowerNet:
    path = _own_file(reference, folder)
    try:
        text = path.read_text(encoding="utf-8")
        foreign = sorted(set(_foreign_classes(json.loads(text))))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError([Problem(where=reference, what=f"cannot be read: {reason}")]) from error
    if foreign:
        problem = f"names classes that are no tables: {', '.join(foreign)}"
        raise InputError([Problem(where=reference, what=problem, remedy="save the network anew")])
    import pandapower

    try:
        net = pandapower.from_json_string(text)
    except Exception as error:  # whatever it says, the file is the cause
        problem = f"pandapower cannot read it: {error}"
        raise InputError([Problem(where=reference, what=problem)]) from error
    if not isinstance(net, pandapower.pandapowerNet):
        raise InputError([Problem(where=reference, what="is not a pandapower network")])
    return cast("PandapowerNet", net)


def _foreign_classes(value: object) -> Iterator[str]:
    """Yield every class that decoding would build beyond tables (nested texts are decoded too)."""
    if isinstance(value, str):
        if value.lstrip()[:1] in ("{", "["):
            try:
                nested = json.loads(value)
            except ValueError:
                return
            yield from _foreign_classes(nested)
    elif isinstance(value, list):
        for item in value:
            yield from _foreign_classes(item)
    elif isinstance(value, dict):
        module, name = value.get("_module"), value.get("_class")
        if module is not None:
            package = str(module).split(".", maxsplit=1)[0]
            built_in = package == "builtins" and name in ALLOWED_BUILTINS
            if package not in ALLOWED_PACKAGES and not built_in:
                yield f"{module}.{name}"
        for item in value.values():
            yield from _foreign_classes(item)
