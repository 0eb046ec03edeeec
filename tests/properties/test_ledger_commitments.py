"""Commitments: the writing side and the verifier's own code agree, and nothing else opens them."""

from __future__ import annotations

import hashlib
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from ledger_adapter.commitment import commit_record, jcs
from ledger_adapter.verify.canonical import INTEGER_MAX, Malformed, canonical_json, parse_json
from ledger_adapter.verify.merkle import leaf_hash, root_hash, verify_inclusion
from ledger_adapter.verify.opening import OpenRecord, record_leaf
from ledger_adapter.verify.proof import (
    InclusionProof,
    format_inclusion,
    parse_inclusion,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.builds(
    OpenRecord,
    record_id=TEXT,
    subject=TEXT,
    fields=st.dictionaries(TEXT, TEXT, min_size=1, max_size=7),
)
KEYS = st.binary(min_size=32, max_size=32)


@given(PLAIN)
def test_canonical_bytes_are_those_of_the_rfc8785_package(value: object) -> None:
    content = canonical_json(value)
    assert content == rfc8785.dumps(value)  # type: ignore[arg-type]
    assert parse_json(content) == json.loads(content) == value


def test_keys_sort_by_utf16_and_not_by_code_point() -> None:
    # RFC 8785 section 3.2.3: the smiley is two surrogates and comes before U+FB33.
    value = {"\ufb33": 1, "\U0001f600": 2, "\u20ac": 3, "\r": 4, "1": 5, "\u0080": 6, "ö": 7}
    content = canonical_json(value)
    assert content == rfc8785.dumps(value)  # type: ignore[arg-type]
    assert list(json.loads(content).values()) == [4, 5, 6, 7, 3, 2, 1]


@pytest.mark.parametrize("value", [1.0, float("nan"), 2**53, {1: 2}, b"x", "\ud800", {"\ud800": 1}])
def test_what_has_no_one_spelling_is_refused(value: object) -> None:
    with pytest.raises(Malformed):
        canonical_json(value)


@pytest.mark.parametrize("content", [b'{"a":1,"a":1}', b"[1.0]", b"[NaN]", b"[1e2]", b"\xff", b"["])
def test_json_that_reads_two_ways_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        parse_json(content)


@given(RECORDS, KEYS)
def test_the_verifier_recomputes_every_leaf(record: OpenRecord, key: bytes) -> None:
    leaf = commit_record("trade", record, key)
    assert leaf == record_leaf("trade", record, key)
    assert set(json.loads(leaf)) == {"commitment", "format", "kind"}


@given(RECORDS, KEYS, KEYS, st.data())
def test_any_other_value_name_record_kind_or_key_gives_another_leaf(
    record: OpenRecord, key: bytes, other_key: bytes, data: st.DataObject
) -> None:
    leaf = record_leaf("trade", record, key)
    name = data.draw(st.sampled_from(sorted(record.fields)))
    value = record.fields[name]

    def with_fields(fields: dict[str, str]) -> bytes:
        changed = OpenRecord(record_id=record.record_id, subject=record.subject, fields=fields)
        return record_leaf("trade", changed, key)

    assert with_fields({**record.fields, name: value + "0"}) != leaf
    assert with_fields({**record.fields, name + "x" * 21: value}) != leaf
    assert (
        with_fields({field: text for field, text in record.fields.items() if field != name}) != leaf
    )
    renamed = OpenRecord(
        record_id=record.record_id + "0", subject=record.subject, fields=record.fields
    )
    assert record_leaf("trade", renamed, key) != leaf
    assert record_leaf("statement", record, key) != leaf
    if key != other_key:
        assert record_leaf("trade", record, other_key) != leaf


def test_one_worked_example() -> None:
    """The formula written out once, with hashlib and hmac only."""
    import hmac

    record = OpenRecord(record_id="t1", subject="sun", fields={"energy_wh": "250", "bus": "3"})
    key = bytes(range(32))
    digests = []
    for name, value in (("bus", "3"), ("energy_wh", "250")):
        salt = hmac.new(key, f'["t1","{name}"]'.encode(), hashlib.sha256).hexdigest()[:32]
        digests.append(hashlib.sha256(f'["{salt}","{name}","{value}"]'.encode()).hexdigest())
    digest = hashlib.sha256(json.dumps(sorted(digests), separators=(",", ":")).encode()).hexdigest()
    expected = f'{{"commitment":"{digest}","format":"gridclear/leaf@1","kind":"trade"}}'
    assert commit_record("trade", record, key) == expected.encode()
    assert jcs(["a", 1]) == b'["a",1]'


@given(st.binary(max_size=40), st.integers(0, 2**40), st.lists(KEYS, max_size=5), st.data())
def test_a_proof_file_has_one_spelling(
    leaf: bytes, index: int, path: list[bytes], data: st.DataObject
) -> None:
    note = "log\n1\nroot\n\n— log AAAA\n"
    proof = InclusionProof(leaf=leaf, index=index, path=tuple(path), checkpoint=note)
    content = format_inclusion(proof).encode()
    assert parse_inclusion(content) == proof
    place = data.draw(st.integers(0, len(content) - 1))
    value = data.draw(st.integers(0, 255))
    changed = content[:place] + bytes([value]) + content[place + 1 :]
    try:
        found = parse_inclusion(changed)
    except Malformed:
        return
    assert (found == proof) == (changed == content)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
def test_an_inclusion_proof_binds_leaf_and_index(leaves: list[bytes], data: st.DataObject) -> None:
    from ledger_adapter.merkle import TileTree

    hashes = [leaf_hash(leaf) for leaf in leaves]
    tree = TileTree(lambda level, tile: hashes if (level, tile) == (0, 0) else [])
    size = len(leaves)
    index = data.draw(st.integers(0, size - 1))
    claimed = data.draw(st.integers(0, size - 1))
    path, root = tree.inclusion(index, size), root_hash(leaves)
    assert verify_inclusion(hashes[claimed], index, size, path, root) == (
        leaves[claimed] == leaves[index]
    )
