"""Study folders: one clearing on disk, read with every problem found, written canonically."""

from data.study.canonical_case import canonical_case, case_sha256
from data.study.network_reference import load_network
from data.study.read_study import read_study
from data.study.write_study import write_study

__all__ = ["canonical_case", "case_sha256", "load_network", "read_study", "write_study"]
