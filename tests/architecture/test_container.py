"""The image is what `make setup` makes: nothing is installed past the lock file."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_image_is_set_up_by_the_makefile_alone() -> None:
    lines = (REPOSITORY / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line for line in lines if line.startswith("RUN ")]
    assert "RUN make setup" in steps
    assert not any("pip" in step or "python" in step for step in steps)
    (base,) = (line for line in lines if line.startswith("FROM "))
    assert base == "FROM python:3.11-slim"
    recipe = (REPOSITORY / "Makefile").read_text()
    assert "--require-hashes" in recipe.split("$(STAMP):")[1].split("\n\n")[0]


def test_what_a_checkout_made_does_not_enter_the_image() -> None:
    ignored = (REPOSITORY / ".containerignore").read_text().splitlines()
    assert {".git", ".venv", "out"} <= set(ignored)
