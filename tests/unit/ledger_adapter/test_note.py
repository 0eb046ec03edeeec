"""Signed notes and checkpoints against published examples."""

from __future__ import annotations

import pytest

from ledger_adapter.verify.canonical import Malformed, parse_base64, parse_decimal
from ledger_adapter.verify.note import (
    format_checkpoint,
    format_note,
    key_id_of,
    open_checkpoint,
    parse_checkpoint,
    parse_note,
    parse_verifier_key,
    verify_note,
)

# The example of the C2SP signed-note specification.
SPEC_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# The example of Go's golang.org/x/mod/sumdb/note, signed by two keys.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdng"
    "otpRZb6KE6RyyBwJnAM=\n"
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnW"
    "Lox33WWd1RvMc+QQ=\n"
)
# The example of the C2SP tlog-checkpoint specification (its key is not published).
SPEC_CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv"
    "2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)


@pytest.mark.parametrize(
    ("key", "note"), [(SPEC_KEY, SPEC_NOTE), (PETER, GO_NOTE), (ENOCH, GO_NOTE)]
)
def test_published_notes_verify(key: str, note: str) -> None:
    parsed = parse_note(note.encode())
    assert verify_note(parsed, parse_verifier_key(key))
    assert format_note(parsed) == note
    assert parse_verifier_key(key).text == key


def test_every_changed_byte_of_a_published_note_is_refused() -> None:
    key = parse_verifier_key(SPEC_KEY)
    content = SPEC_NOTE.encode()
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        try:
            note = parse_note(changed)
        except Malformed:
            continue
        assert not verify_note(note, key), place


def test_other_keys_signatures_are_ignored_but_a_false_one_of_ours_is_fatal() -> None:
    peter, enoch = parse_verifier_key(PETER), parse_verifier_key(ENOCH)
    note = parse_note(GO_NOTE.encode())
    assert not verify_note(note, parse_verifier_key(SPEC_KEY))
    forged = GO_NOTE.replace("x08go/ZJ", "x08go/ZK")
    broken = parse_note(forged.encode())
    assert not verify_note(broken, peter)
    assert verify_note(broken, enoch)


def test_the_published_checkpoint_is_read_and_written_back() -> None:
    note = parse_note(SPEC_CHECKPOINT.encode())
    checkpoint = parse_checkpoint(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert format_checkpoint(checkpoint) == note.text
    assert format_note(note) == SPEC_CHECKPOINT


@pytest.mark.parametrize(
    "text",
    [
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2",
        "example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "",
    ],
)
def test_a_wrong_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_verifier_key(text)


@pytest.mark.parametrize(
    "content",
    [
        SPEC_NOTE.replace("\n\n", "\n").encode(),
        SPEC_NOTE[:-1].encode(),
        SPEC_NOTE.replace("— ", "- ").encode(),
        SPEC_NOTE.replace("message.", "message.\r").encode(),
        SPEC_NOTE.replace(" Uw2Q", "  Uw2Q").encode(),
        SPEC_NOTE.encode() + b"\n",
        b"\xff" + SPEC_NOTE.encode(),
        b"text\n\n" + SPEC_NOTE.split("\n\n")[1].encode() * 17,
        "text\n\n— example.com/foo Uw2QOg==\n".encode(),
    ],
)
def test_a_malformed_note_is_refused(content: bytes) -> None:
    with pytest.raises(Malformed):
        parse_note(content)


@pytest.mark.parametrize("size", ["01", "+1", "-1", "1 ", "", "1e3", "٣", "9" * 30])
def test_a_size_has_one_spelling(size: str) -> None:
    with pytest.raises(Malformed):
        parse_decimal(size)


def test_base64_has_one_spelling() -> None:
    assert parse_base64("QQ==") == b"A"
    for text in ("QR==", "QQ=", "QQ", "Q Q==", "QQ==\n", "Q-==", "é"):
        with pytest.raises(Malformed):
            parse_base64(text)


def test_an_open_checkpoint_is_ours_alone() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from ledger_adapter.verify.note import Note, VerifierKey

    secret = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public = secret.public_key().public_bytes_raw()

    def signed(text: str, name: str = "log.example/a") -> tuple[VerifierKey, bytes]:
        key = VerifierKey(name=name, key_id=key_id_of(name, public), public=public)
        line = (name, key.key_id, secret.sign(text.encode()))
        return key, format_note(Note(text=text, signatures=(line,))).encode()

    root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    key, content = signed(f"log.example/a\n0\n{root}\n")
    assert open_checkpoint(content, key).size == 0
    _, foreign = signed("text\n", "witness.example/w")
    stranger = foreign.split(b"\n\n")[1]
    for text in (
        f"log.example/b\n0\n{root}\n",  # another log
        f"log.example/a\n0\n{root}\nextension\n",
        f"log.example/a\n00\n{root}\n",
        "log.example/a\n0\nAAAA\n",
    ):
        with pytest.raises(Malformed):
            open_checkpoint(signed(text)[1], key)
    with pytest.raises(Malformed, match="alone"):
        open_checkpoint(content + stranger, key)
    with pytest.raises(Malformed, match="alone"):
        open_checkpoint(content, parse_verifier_key(SPEC_KEY))
