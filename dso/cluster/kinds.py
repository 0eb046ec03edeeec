"""What workers can do: each kind writes its files into an empty folder and says how it went.

A kind reads what its job names and nothing else, and is deterministic: any attempt gives the same
bytes, timings apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data.canonical import canonical_json, sha256_hex, write_atomically
from dso.cluster.jobs import Job, Reference, content_sha256, make_job, reference
from ledger_adapter.keys import PUBLIC_FILE

if TYPE_CHECKING:
    from dso.studies import Study, Variant

CLEAR: Final = "clear"
SETTLE: Final = "settle"
FORECAST: Final = "forecast"
DAY: Final = "day"
VARIANT: Final = "variant"
DONE: Final = "done"
INPUTS: Final = ".inputs"
Work = Callable[[Job, Path], tuple[str, str]]


def clear_job(name: str, study: Path, out: Path) -> Job:
    """Return the job of `dso clear`; its status is that of the clearing."""
    return make_job(kind=CLEAR, name=name, out=out, inputs=[reference(study)])


def settle_job(name: str, folder: Path, out: Path) -> Job:
    """Return the job of `dso settle`, a first run without a revision."""
    return make_job(kind=SETTLE, name=name, out=out, inputs=[reference(folder)])


def forecast_job(name: str, request: Path, out: Path) -> Job:
    """Return the job of `dso forecast run` for a request file.

    Raises
    ------
    InputError
        Everything wrong with the request.
    """
    from dso.cluster.forecasts import read_request

    files, plain = read_request(request)
    inputs = [reference(path) for path in files]
    return make_job(kind=FORECAST, name=name, out=out, inputs=inputs, parameters=plain)


def day_job(feeder: str, day: date, keys: Path, configs: Path, out: Path) -> Job:
    """Return the job of `dso day`: forecast to settlement and bundle of one feeder.

    Parameters
    ----------
    feeder : str
        Id or TOML file.
    day : date
        Local delivery day.
    keys : Path
        Operator's key folder, readable by every worker; it must exist.
    configs : Path
        Folder with ``markets/`` and ``feeders/``.
    out : Path
        Where the folder of the day will be.
    """
    given = Path(feeder)
    named = reference(given) if given.suffix == ".toml" else None
    title = given.stem if named else feeder
    return make_job(
        kind=DAY,
        name=f"{title} {day.isoformat()}",
        out=out,
        # The public key stands for the folder: what else is in it is secret, and grows.
        inputs=[reference(keys / PUBLIC_FILE), reference(configs), *([named] if named else [])],
        parameters={"feeder": None if named else feeder, "day": day.isoformat()},
    )


def variant_job(variant: Variant, out: Path) -> Job:
    """Return the job of one variant of a sweep; its study goes to the inputs of ``out`` once.

    The folder and its bytes are those of `dso.studies.run_variants`.
    """
    from dso.studies.variants import VARIANT_FILE, folder_name, variant_key

    inputs = out.parent.resolve() / INPUTS
    settings = canonical_json([[setting.key, setting.value] for setting in variant.settings])
    listed = inputs / f"settings-{sha256_hex(settings)[:32]}.json"
    if not listed.exists():
        write_atomically(listed, settings)
    return Job(
        kind=VARIANT,
        name=variant.name,
        key=variant_key(variant),
        folder=str(out.resolve() / folder_name(variant)),
        inputs=(
            _study_reference(str(inputs), variant.study),
            Reference(path=str(listed), sha256=sha256_hex(settings)),
        ),
        parameters={"base_sha256": variant.study.sha256},
        marker=VARIANT_FILE,
    )


def _study_reference(inputs: str, study: Study) -> Reference:
    """Write a study beside the sweep, unless it is there, and return its reference."""
    from dso.studies import save_study

    place = Path(inputs) / f"study-{study.sha256[:32]}"
    key = (inputs, study.sha256)
    if key not in _WRITTEN:
        save_study(study, place)
        _WRITTEN[key] = content_sha256(place)
    return Reference(path=str(place), sha256=_WRITTEN[key])


_WRITTEN: Final[dict[tuple[str, str], str]] = {}


def clear_variant_job(job: Job, scratch: Path) -> Path:
    """Clear a variant into ``scratch``; return its finished folder."""
    import json

    from dso.studies import Setting, Variant
    from dso.studies.variants import clear_variant

    base, listed = job.inputs
    pairs = json.loads(Path(listed.path).read_text(encoding="utf-8"))
    settings = tuple(Setting(key=key, value=value) for key, value in pairs)
    variant = Variant(name=job.name, study=_study(base.path, base.sha256), settings=settings)
    clear_variant(variant, scratch)
    return scratch / Path(job.folder).name


@lru_cache(maxsize=4)
def _study(path: str, _sha256: str) -> Study:
    """Read a study once per worker; the digest makes another content another entry."""
    from dso.studies import load_study

    return load_study(Path(path))


def _clear(job: Job, folder: Path) -> tuple[str, str]:
    from data.results import write_result
    from data.study import read_study
    from data.study.copy_study import STUDY_FOLDER, copy_study
    from opf.clearing import clear_case

    study = Path(job.inputs[0].path)
    case = read_study(study)
    result = clear_case(case)
    write_result(result, case, folder)
    copy_study(study, folder / STUDY_FOLDER)
    return result.status, result.message


def _settle(job: Job, folder: Path) -> tuple[str, str]:
    from dso.settlement import settle_folder

    done = settle_folder(Path(job.inputs[0].path), folder)
    return DONE, f"{len(done.result.lines)} lines, every sum is zero"


def _forecast(job: Job, folder: Path) -> tuple[str, str]:
    from dso.cluster.forecasts import forecast_question
    from dso.forecasts.outputs import levels_of
    from dso.forecasts.run import make_forecast

    paths = tuple(Path(each.path) for each in job.inputs)
    files, gate, ahead = forecast_question(paths, job.parameters)
    levels = levels_of(int(str(job.parameters["quantiles"])))
    model = str(job.parameters["model"])
    made = make_forecast(files, gate=gate, ahead=ahead, levels=levels, model=model)
    write_atomically(folder / "forecast.csv", made.csv)
    write_atomically(folder / "forecast.json", made.json)
    return DONE, "; ".join(made.lines)


def _day(job: Job, folder: Path) -> tuple[str, str]:
    from dso.config import load_feeder, load_market
    from dso.cycles.day import run_day
    from dso.progress import SilentProgress

    keys, configs, *named = job.inputs
    day = date.fromisoformat(str(job.parameters["day"]))
    source = named[0].path if named else str(job.parameters["feeder"])
    feeder = load_feeder(source, day, folder=Path(configs.path))
    outcome = run_day(
        day=day,
        out=folder,
        keys=Path(keys.path).parent,
        store_url=None,
        feeder=feeder,
        rules=load_market(feeder.market, day, folder=Path(configs.path)),
        progress=SilentProgress(),
    )
    return _DAY_STATUS[outcome.exit_code], ""


_DAY_STATUS: Final[Mapping[int, str]] = {
    0: "certified",
    3: "uncertified",
    4: "certified_with_slack",
}
KINDS: Final[Mapping[str, Work]] = {
    CLEAR: _clear,
    SETTLE: _settle,
    FORECAST: _forecast,
    DAY: _day,
}
