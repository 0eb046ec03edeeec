"""Models on record: parameters, data, scores; a champion that serves and challengers that may.

A registry is a folder: ``models/<id>/`` holds the texts and ``record.json``; ``champion.json``
names, per kind of series, the model that serves. Every file is written whole or not at all, and a
model's id is the hash of what it was made of, so that the same training gives the same id.

A model may serve only when it beats the like-day model on frozen days: days that no fit saw. A
challenger takes over only when it also beats the champion there, by at least 1 %.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import canonical_json, pretty_json, sha256_hex, write_atomically
from data.errors import InputError, Problem
from forecasting.model import FORECAST_KINDS, ForecastKind

Floats = NDArray[np.float64]

TAKEOVER_SHARE: Final = 0.99
# Population stability index: above 0.2 the population has shifted (Siddiqi 2006, Credit Risk
# Scorecards, ch. 9).
PSI_LIMIT: Final = 0.2
PSI_BINS: Final = 10
# A week-long pinball ratio to like-day above this: the model no longer earns its place.
RATIO_LIMIT: Final = 1.0
RETRAIN_DAYS: Final = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """What is known of a model.

    Parameters
    ----------
    model_key : str
        Hash of forecaster, data and texts; its folder.
    forecaster : str
        Name of the forecaster that can read it.
    kind : {"load", "pv", "wind", "net"}
        Of the series.
    series : tuple of str
        Series it was fitted on.
    data_sha256 : str
        Of readings, weather and site together.
    fitted_at : str
        Gate of the fit, UTC.
    frozen : tuple of str
        First and past-the-last instant of the frozen days, UTC.
    pinball_mw, like_day_mw : float
        Mean loss on the frozen days [MW].
    coverage : float
        Share of frozen periods in the 10-90 % band.
    """

    model_key: str
    forecaster: str
    kind: ForecastKind
    series: tuple[str, ...]
    data_sha256: str
    fitted_at: str
    frozen: tuple[str, str]
    pinball_mw: float
    like_day_mw: float
    coverage: float

    @property
    def may_serve(self) -> bool:
        """Whether it beats the like-day model on the frozen days."""
        return self.pinball_mw < self.like_day_mw


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a challenger, in a sentence."""

    serves: bool
    reason: str


class Registry:
    """Models in a folder.

    Parameters
    ----------
    folder : Path
        Made when the first model is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, record: ModelRecord, files: Mapping[str, str]) -> Verdict:
        """Keep a model, and let it serve when it has earned it.

        Returns
        -------
        Verdict
            Whether it is the champion now, and why.
        """
        place = self.folder / "models" / record.model_key
        for name, text in sorted(files.items()):
            write_atomically(place / name, text.encode())
        # The record goes last: a folder with a record is a whole model.
        write_atomically(place / "record.json", pretty_json(record))
        verdict = self.judge(record)
        if verdict.serves:
            champions = dict(self._champions())
            champions[record.kind] = record.model_key
            write_atomically(self.folder / "champion.json", pretty_json(champions))
        return verdict

    def judge(self, challenger: ModelRecord) -> Verdict:
        """Say whether a model may serve: better than like-day, and than the champion."""
        ratio = challenger.pinball_mw / max(challenger.like_day_mw, 1e-12)
        if not challenger.may_serve:
            return Verdict(
                serves=False,
                reason=f"{ratio:.3f} times the loss of like-day on the frozen days; may not serve",
            )
        champion = self.champion(challenger.kind)
        if champion is None:
            return Verdict(serves=True, reason=f"{ratio:.3f} times the loss of like-day; serves")
        if champion.model_key == challenger.model_key:
            return Verdict(serves=True, reason="the champion, trained again on the same data")
        if champion.frozen != challenger.frozen or champion.series != challenger.series:
            against = champion.pinball_mw / max(champion.like_day_mw, 1e-12)
            words = "relative to like-day, on other frozen days"
        else:
            against = champion.pinball_mw / max(challenger.like_day_mw, 1e-12)
            words = "on the same frozen days"
        if ratio <= TAKEOVER_SHARE * against:
            return Verdict(
                serves=True,
                reason=f"{ratio / against:.3f} times the champion's loss {words}; takes over",
            )
        return Verdict(
            serves=False,
            reason=f"{ratio / against:.3f} times the champion's loss {words}; the champion stays",
        )

    def champion(self, kind: ForecastKind) -> ModelRecord | None:
        """Return the record of the model that serves; None where none has earned it."""
        key = self._champions().get(kind)
        return None if key is None else self.record(key)

    def record(self, model_key: str) -> ModelRecord:
        """Read a record.

        Raises
        ------
        InputError
            If there is no such model, or its record cannot be read.
        """
        path = self.folder / "models" / model_key / "record.json"
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            held["series"], held["frozen"] = tuple(held["series"]), tuple(held["frozen"])
            return ModelRecord(**held)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                [Problem(where=str(path), what=f"no record of a model ({error})",
                         remedy="train it again: dso forecast train")]
            ) from error  # fmt: skip

    def files(self, model_key: str) -> dict[str, str]:
        """Return the texts of a model."""
        self.record(model_key)
        place = self.folder / "models" / model_key
        return {
            path.name: path.read_text(encoding="utf-8")
            for path in sorted(place.iterdir())
            if path.name != "record.json" and not path.name.startswith(".")
        }

    def records(self) -> tuple[ModelRecord, ...]:
        """Return all records, by kind and then by loss relative to like-day."""
        place = self.folder / "models"
        if not place.is_dir():
            return ()
        found = [
            self.record(entry.name)
            for entry in sorted(place.iterdir())
            if (entry / "record.json").is_file()
        ]
        return tuple(
            sorted(found, key=lambda r: (r.kind, r.pinball_mw / max(r.like_day_mw, 1e-12)))
        )

    def _champions(self) -> dict[str, str]:
        path = self.folder / "champion.json"
        if not path.is_file():
            return {}
        held = json.loads(path.read_text(encoding="utf-8"))
        return {kind: str(held[kind]) for kind in FORECAST_KINDS if kind in held}


def model_key(forecaster: str, data_sha256: str, files: Mapping[str, str]) -> str:
    """Return the id of a model: what made it, from what, and what came out."""
    content = {"forecaster": forecaster, "data": data_sha256, "files": dict(sorted(files.items()))}
    return sha256_hex(canonical_json(content))[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Whether a serving model has to be trained again.

    Parameters
    ----------
    psi : float
        Population stability index of the readings since the fit against those of the fit.
    pinball_ratio : float
        Recent loss over that of like-day; NaN where nothing was scored.
    age_days : float
        Days since the fit.
    reasons : tuple of str
        Why to retrain; empty while all is well.
    """

    psi: float
    pinball_ratio: float
    age_days: float
    reasons: tuple[str, ...]


def population_stability_index(fitted: Floats, recent: Floats) -> float:
    """Return the PSI of two samples over the deciles of the first.

    PSI = sum (a - b) ln(a / b) with a, b the shares in each bin, at least 0.1 % each.

    Examples
    --------
    >>> same = np.arange(100.0)
    >>> round(population_stability_index(same, same), 6)
    0.0
    >>> population_stability_index(same, same + 50.0) > PSI_LIMIT
    True
    """
    edges = np.unique(np.quantile(fitted, np.linspace(0.0, 1.0, PSI_BINS + 1)[1:-1]))
    shares = []
    for sample in (fitted, recent):
        counts = np.bincount(np.searchsorted(edges, sample), minlength=len(edges) + 1)
        shares.append(np.maximum(counts / len(sample), 1e-3))
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def find_drift(fitted: Floats, recent: Floats, *, pinball_ratio: float, age_days: float) -> Drift:
    """Say whether to retrain: on schedule, on shifted readings, or on lost skill.

    Parameters
    ----------
    fitted, recent : ndarray
        Readings the model was fitted on and those of the last weeks, at like hours and of like
        length so that seasons within the day do not show [MW].
    pinball_ratio : float
        Recent loss of the model over that of like-day; NaN where unknown.
    age_days : float
        Days since the fit.
    """
    psi = population_stability_index(fitted, recent)
    reasons = []
    if age_days >= RETRAIN_DAYS:
        reasons.append(f"fitted {age_days:.0f} days ago (schedule: {RETRAIN_DAYS})")
    if psi > PSI_LIMIT:
        reasons.append(f"readings have shifted: PSI {psi:.2f} (limit {PSI_LIMIT})")
    if np.isfinite(pinball_ratio) and pinball_ratio > RATIO_LIMIT:
        reasons.append(f"{pinball_ratio:.2f} times the recent loss of like-day")
    return Drift(psi=psi, pinball_ratio=pinball_ratio, age_days=age_days, reasons=tuple(reasons))
