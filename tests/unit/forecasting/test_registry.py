"""Who may serve: only what beats like days on frozen days, and a champion by one per cent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from forecasting.registry import (
    ModelRecord,
    Registry,
    find_drift,
    model_key,
    population_stability_index,
)

RECORD = ModelRecord(
    model_key="a" * 16,
    forecaster="weather-load",
    kind="load",
    series=("value_mw",),
    data_sha256="0" * 64,
    fitted_at="2026-05-01T10:00:00Z",
    frozen=("2026-04-03T10:00:00Z", "2026-05-01T10:00:00Z"),
    pinball_mw=0.8,
    like_day_mw=1.0,
    coverage=0.8,
)
FILES = {"model.json": '{"x": 1}\n', "trees.txt": "tree\n"}


def variant(key: str, pinball_mw: float) -> ModelRecord:
    return replace(RECORD, model_key=key * 16, pinball_mw=pinball_mw)


def test_a_model_that_beats_like_days_serves_and_is_read_again(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    assert registry.keep(RECORD, FILES).serves
    again = Registry(tmp_path / "models")
    assert again.champion("load") == RECORD
    assert again.champion("pv") is None
    assert again.files(RECORD.model_key) == FILES


def test_a_model_that_does_not_beat_like_days_is_kept_but_may_not_serve(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    verdict = registry.keep(variant("b", 1.0), FILES)
    assert not verdict.serves
    assert "may not serve" in verdict.reason
    assert registry.champion("load") is None
    assert len(registry.records()) == 1


@pytest.mark.parametrize(("pinball_mw", "takes_over"), [(0.7, True), (0.795, False), (0.9, False)])
def test_a_challenger_takes_over_by_one_per_cent(
    tmp_path: Path, pinball_mw: float, takes_over: bool
) -> None:
    registry = Registry(tmp_path)
    registry.keep(RECORD, FILES)
    verdict = registry.keep(variant("c", pinball_mw), FILES)
    assert verdict.serves == takes_over
    champion = registry.champion("load")
    assert champion is not None
    assert champion.model_key == ("c" if takes_over else "a") * 16
    assert [r.pinball_mw for r in registry.records()] == sorted([0.8, pinball_mw])


def test_on_other_frozen_days_losses_are_compared_through_like_days(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.keep(RECORD, FILES)
    windy = replace(variant("d", 1.5), like_day_mw=2.0, frozen=("x", "y"))  # 0.75 of like-day
    assert registry.judge(windy).serves
    assert "other frozen days" in registry.judge(windy).reason


def test_each_kind_has_a_champion_of_its_own(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.keep(RECORD, FILES)
    registry.keep(replace(variant("e", 0.9), kind="pv"), FILES)
    assert registry.champion("load") == RECORD
    champion = registry.champion("pv")
    assert champion is not None
    assert champion.model_key == "e" * 16


def test_a_model_without_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models" / "torn").mkdir(parents=True)
    (tmp_path / "models" / "torn" / "model.json").write_text("{}")
    registry = Registry(tmp_path)
    assert registry.records() == ()
    with pytest.raises(InputError, match="train it again"):
        registry.files("torn")


def test_the_same_training_has_the_same_key() -> None:
    key = model_key("weather-load", "0" * 64, FILES)
    assert key == model_key("weather-load", "0" * 64, dict(reversed(FILES.items())))
    assert key != model_key("weather-load", "1" * 64, FILES)
    assert key != model_key("weather-load", "0" * 64, {**FILES, "trees.txt": "other\n"})


def test_psi_against_a_sum_by_hand() -> None:
    fitted = np.arange(1000.0)
    recent = np.concatenate([np.arange(100.0), np.arange(500.0, 1000.0)])
    edges = np.quantile(fitted, np.linspace(0.1, 0.9, 9))
    total = 0.0
    for low, high in zip([-np.inf, *edges], [*edges, np.inf], strict=True):
        a = max(((recent > low) & (recent <= high)).mean(), 1e-3)
        b = max(((fitted > low) & (fitted <= high)).mean(), 1e-3)
        total += (a - b) * np.log(a / b)
    assert population_stability_index(fitted, recent) == pytest.approx(total, abs=1e-9)


@given(st.floats(-3.0, 3.0), st.floats(0.3, 3.0))
def test_psi_is_never_negative(shift: float, scale: float) -> None:
    sample = np.random.default_rng(1).normal(size=400)
    assert population_stability_index(sample, scale * sample + shift) >= 0.0


def test_drift_names_every_reason() -> None:
    sample = np.random.default_rng(2).normal(10.0, 1.0, 2000)
    calm = find_drift(sample[:1000], sample[1000:], pinball_ratio=0.8, age_days=3.0)
    assert calm.reasons == ()
    drifted = find_drift(sample[:1000], sample[1000:] * 1.3, pinball_ratio=1.1, age_days=30.0)
    assert len(drifted.reasons) == 3
    unknown = find_drift(sample[:1000], sample[1000:], pinball_ratio=float("nan"), age_days=1.0)
    assert unknown.reasons == ()
