"""Communities as `communities.toml` of a settlement folder."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any, cast

from data.records.settlement import Community, CommunityMember
from dso.settlement.exact import format_micro, parse_micro
from dso.settlement.tables import TableFolder

NAME = "communities.toml"
COMMUNITY_KEYS = ("name", "key", "price_eur_per_mwh", "generator", "member")
PARTY_KEYS = ("participant", "connection")


def communities_toml(communities: tuple[Community, ...]) -> bytes:
    """Write communities as TOML, sorted by name; members sorted by participant and connection."""
    parts = []
    for community in sorted(communities, key=lambda c: c.name):
        owner, connection = community.generator
        parts.append(
            "[[community]]\n"
            f"name = {_text(community.name)}\n"
            f"key = {_text(community.key)}\n"
            f"price_eur_per_mwh = {format_micro(community.price_micro_eur_per_mwh)}\n"
            f"generator = {{participant = {_text(owner)}, connection = {_text(connection)}}}\n"
        )
        for member in sorted(community.members, key=lambda m: (m.participant, m.connection)):
            share = f"share = {format_micro(member.share_ppm)}\n" if member.share_ppm else ""
            parts.append(
                "[[community.member]]\n"
                f"participant = {_text(member.participant)}\n"
                f"connection = {_text(member.connection)}\n{share}"
            )
    return "\n".join(parts).encode()


def _text(value: str) -> str:
    """Write a basic TOML string: JSON escapes are TOML escapes."""
    return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")


def read_communities(files: TableFolder) -> tuple[Community, ...]:
    """Read ``communities.toml``; problems are noted, what cannot be read is left out."""
    if not (files.folder / NAME).exists():
        return ()
    try:
        given = tomllib.loads(files.text(NAME))
    except tomllib.TOMLDecodeError as error:
        files.complain(NAME, f"is no TOML: {error}")
        return ()
    for key in sorted(set(given) - {"community"}):
        files.complain(NAME, f"has an unknown key {key!r}", "known: community")
    tables = given.get("community", [])
    if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
        files.complain(NAME, "community is no list of tables", "write [[community]]")
        return ()
    return tuple(sorted((_community(files, entry) for entry in tables), key=lambda c: c.name))


def _community(files: TableFolder, entry: Mapping[str, Any]) -> Community:
    name = str(entry.get("name", ""))
    where = f"community {name!r}"
    _unknown_keys(files, where, entry, COMMUNITY_KEYS)
    members = entry.get("member", [])
    if not isinstance(members, list):
        files.complain(NAME, f"{where}: member is no list", "write [[community.member]]")
        members = []
    generator = _party(files, f"{where} generator", entry.get("generator"), PARTY_KEYS)
    return Community(
        name=name,
        key=cast("Any", entry.get("key", "")),  # the validation names an unknown word
        price_micro_eur_per_mwh=_micro(files, where, entry, "price_eur_per_mwh"),
        generator=(generator["participant"], generator["connection"]),
        members=tuple(
            sorted(
                (_member(files, f"{where} member {k}", found) for k, found in enumerate(members)),
                key=lambda m: (m.participant, m.connection),
            )
        ),
    )


def _member(files: TableFolder, where: str, entry: object) -> CommunityMember:
    party = _party(files, where, entry, (*PARTY_KEYS, "share"))
    share = 0
    if isinstance(entry, dict) and "share" in entry:
        share = _micro(files, where, entry, "share")
    return CommunityMember(
        participant=party["participant"], connection=party["connection"], share_ppm=share
    )


def _party(files: TableFolder, where: str, entry: object, known: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(entry, dict):
        files.complain(NAME, f"{where}: has no participant and connection")
        return {"participant": "", "connection": ""}
    _unknown_keys(files, where, entry, known)
    return {key: str(entry.get(key, "")) for key in PARTY_KEYS}


def _unknown_keys(
    files: TableFolder, where: str, entry: Mapping[str, Any], known: tuple[str, ...]
) -> None:
    for key in sorted(set(entry) - set(known)):
        files.complain(NAME, f"{where}: unknown key {key!r}", f"known: {', '.join(known)}")


def _micro(files: TableFolder, where: str, entry: Mapping[str, Any], key: str) -> int:
    value = entry.get(key)
    if type(value) not in (int, float):
        files.complain(NAME, f"{where}: {key} is no number: {value!r}")
        return 0
    try:
        return parse_micro(repr(value))
    except ValueError as error:
        files.complain(NAME, f"{where}: {key}: {error}")
        return 0
