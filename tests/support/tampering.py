"""Seeded mutations of a bundle: of its bytes, lines, files and every JSON path in it."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger_adapter.verify.canonical import canonical_json, readable_json

Files = dict[str, bytes]
JSON_CHANGES = ("other", "type", "gone", "renamed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A changed bundle: what was done, the files that differ, and those of which one is named.

    ``changed`` maps a name to its new content, None for a file that is taken away.
    """

    what: str
    changed: Mapping[str, bytes | None]

    @property
    def names(self) -> set[str]:
        """The first failure must be about one of these."""
        return set(self.changed)


def read_files(folder: Path) -> Files:
    """Return the files of a folder by relative name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def applied(folder: Path, files: Files, mutation: Mutation) -> Iterator[None]:
    """Apply a mutation to the folder and take it back afterwards."""
    for name, content in mutation.changed.items():
        path = folder / name
        if content is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    try:
        yield
    finally:
        for name in mutation.changed:
            if name in files:
                (folder / name).write_bytes(files[name])
            else:
                (folder / name).unlink()


def every_mutation(files: Files, other: Files, rng: random.Random) -> Iterator[Mutation]:
    """Yield each kind for each file, and each change of each JSON path, once.

    Parameters
    ----------
    files, other : mapping
        The bundle, and the bundle of another operator about the same day.
    rng : random.Random
        Draws places.
    """
    for name in files:
        for kind in BYTE_KINDS:
            yield from _real(files, _of_bytes(files, name, kind, rng))
        yield from _real(files, Mutation(what=f"{name}: gone", changed={name: None}))
        if name in other:
            what = f"{name}: of another operator"
            yield from _real(files, Mutation(what=what, changed={name: other[name]}))
    for name, content in files.items():
        for path in json_paths(content):
            for change in JSON_CHANGES:
                yield from _real(files, _of_json(files, name, path, change))
        if name.endswith(".tlog-proof"):
            for path in json_paths(_leaf_of(content)):
                for change in JSON_CHANGES:
                    yield from _real(files, _of_leaf(files, name, path, change))


def random_mutations(files: Files, other: Files, rng: random.Random) -> Iterator[Mutation]:
    """Yield mutations without end."""
    names = sorted(files)
    makers: list[Callable[[], Mutation]] = [
        lambda: _of_bytes(files, rng.choice(names), rng.choice(BYTE_KINDS), rng),
        lambda: _swapped_files(files, rng),
        lambda: _added(rng),
        lambda: _renamed(files, rng),
        lambda: Mutation(what="foreign", changed=_foreign(files, other, rng)),
        lambda: _several(files, rng),
    ]
    while True:
        yield from _real(files, rng.choice(makers)())


def _real(files: Files, mutation: Mutation) -> Iterator[Mutation]:
    """Leave out what changes nothing: two equal lines swapped, for instance."""
    changed = {
        name: content
        for name, content in mutation.changed.items()
        if content is None or files.get(name) != content
    }
    if changed:
        yield Mutation(what=mutation.what, changed=changed)


def _flip(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return (
        content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
    )


def _drop(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + content[place + 1 :]


def _insert(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.randbytes(rng.randint(1, 4)) + content[place:]


def _cut_tail(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _drop_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    lines.pop(rng.randrange(len(lines)))
    return b"".join(lines)


def _double_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    return b"".join([*lines[: place + 1], *lines[place:]])


def _swap_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"".join(lines)


_BYTE_CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bit flipped": _flip,
    "byte dropped": _drop,
    "bytes inserted": _insert,
    "tail cut": _cut_tail,
    "line dropped": _drop_line,
    "line doubled": _double_line,
    "lines swapped": _swap_lines,
}
BYTE_KINDS = tuple(_BYTE_CHANGES)


def _of_bytes(files: Files, name: str, kind: str, rng: random.Random) -> Mutation:
    changed = _BYTE_CHANGES[kind](files[name], rng)
    return Mutation(what=f"{name}: {kind}", changed={name: changed})


def _swapped_files(files: Files, rng: random.Random) -> Mutation:
    first, second = rng.sample(sorted(files), 2)
    changed = {first: files[second], second: files[first]}
    return Mutation(what=f"{first} and {second}: swapped", changed=changed)


def _added(rng: random.Random) -> Mutation:
    name = rng.choice(["", "inputs/", "outputs/day-ahead/", "proofs/"]) + f"new{rng.randrange(999)}"
    return Mutation(what=f"{name}: added", changed={name: rng.randbytes(rng.randint(0, 50))})


def _renamed(files: Files, rng: random.Random) -> Mutation:
    name = rng.choice(sorted(files))
    return Mutation(what=f"{name}: renamed", changed={name: None, f"{name}.old": files[name]})


def _foreign(files: Files, other: Files, rng: random.Random) -> dict[str, bytes | None]:
    shared = sorted(files.keys() & other.keys())
    return {name: other[name] for name in rng.sample(shared, rng.randint(1, 4))}


def _several(files: Files, rng: random.Random) -> Mutation:
    changed: dict[str, bytes | None] = {}
    for name in rng.sample(sorted(files), rng.randint(2, 5)):
        changed[name] = _BYTE_CHANGES[rng.choice(BYTE_KINDS)](files[name], rng)
    return Mutation(what=f"{len(changed)} files", changed=changed)


def json_paths(content: bytes) -> list[tuple[str | int, ...]]:
    """Return the path of every value in a JSON text; none if it is no JSON object or list."""
    try:
        plain = json.loads(content)
    except ValueError:
        return []
    return list(_paths(plain, ())) if isinstance(plain, dict | list) else []


def _paths(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    children = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield (*path, key)
        yield from _paths(child, (*path, key))


def _changed_json(content: bytes, path: tuple[str | int, ...], change: str) -> Any:
    plain = json.loads(content)
    parent = plain
    for key in path[:-1]:
        parent = parent[key]
    key, value = path[-1], parent[path[-1]]
    if change == "gone":
        del parent[key]
    elif change == "renamed" and isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key)
    elif change == "type":
        parent[key] = [value] if not isinstance(value, list) else {"x": value}
    else:
        parent[key] = _other_value(value)
    return plain


def _other_value(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return 7
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    return None


def _of_json(files: Files, name: str, path: tuple[str | int, ...], change: str) -> Mutation:
    changed = readable_json(_changed_json(files[name], path, change))
    return Mutation(what=f"{name} {path}: {change}", changed={name: changed})


def _leaf_of(proof: bytes) -> bytes:
    line = next(line for line in proof.split(b"\n") if line.startswith(b"extra "))
    return base64.b64decode(line.removeprefix(b"extra "))


def _of_leaf(files: Files, name: str, path: tuple[str | int, ...], change: str) -> Mutation:
    old = _leaf_of(files[name])
    new = canonical_json(_changed_json(old, path, change))
    content = files[name].replace(base64.b64encode(old), base64.b64encode(new))
    return Mutation(what=f"{name} leaf {path}: {change}", changed={name: content})
