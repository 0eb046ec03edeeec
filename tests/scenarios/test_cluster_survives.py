"""Variants on a real cluster whose worker is killed and whose scheduler goes away for a while."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from dso.cluster import JobReport, Rules, Tally, open_cluster, run_jobs
from dso.cluster.kinds import variant_job
from dso.studies import Setting, Variant, run_variants
from tests.support.cluster_processes import far_cluster
from tests.support.small_study import small_study

VARIANTS = 24
CUT_S = 10.0
pytestmark = pytest.mark.filterwarnings("default::ResourceWarning")


@pytest.fixture(scope="module")
def variants() -> list[Variant]:
    study = small_study(24)
    return [
        Variant(
            name=f"price {place}",
            study=study,
            settings=(Setting(key="import_price.factor", value=0.5 + place / 10),),
        )
        for place in range(VARIANTS)
    ]


@pytest.fixture(scope="module")
def undisturbed(variants: list[Variant], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "variants"
    run_variants(variants, out, workers=1)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_a_killed_worker_and_ten_seconds_without_the_scheduler_change_no_byte(
    variants: list[Variant], undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "variants"
    jobs = [variant_job(variant, out) for variant in variants]
    seen: list[JobReport] = []
    heard: list[Tally] = []
    with far_cluster(workers=2) as line, open_cluster(line.address) as cluster:
        pids = set(cluster.client().run(os.getpid).values())
        assert len(pids) == 2
        cutting = threading.Thread(target=line.cut, args=(CUT_S,))

        def ended(report: JobReport) -> None:
            seen.append(report)
            if len(seen) == 4:
                os.kill(min(pids), signal.SIGKILL)
            if len(seen) == 12:
                cutting.start()

        rules = Rules(patience_s=120.0)
        reports = run_jobs(jobs, cluster, rules=rules, ended=ended, listen=heard.append)
        cutting.join()
        after = set(cluster.client().run(os.getpid).values())
    assert min(pids) not in after  # the one that was killed has a successor
    assert line.cuts >= 2  # the line was in use when it was cut
    assert heard[-1].connections_lost >= 1
    assert [report.status for report in reports] == ["certified"] * VARIANTS
    assert sorted(report.name for report in seen) == sorted(variant.name for variant in variants)
    assert contents(out) == contents(undisturbed)
