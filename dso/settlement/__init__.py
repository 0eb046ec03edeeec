"""Settlement: every cent explained, every sum zero. Imports only `data`.

Examples
--------
``dso settle FOLDER --out DIR`` is::

    run = settle_folder(folder, out)
"""

from __future__ import annotations

from data.records.settlement import SettlementCase, SettlementLine, SettlementResult
from dso.settlement.audit import check_settlement
from dso.settlement.books import settle
from dso.settlement.case_files import case_files, write_settlement_case
from dso.settlement.collateral import (
    Collateral,
    CollateralDecision,
    CollateralRules,
    check_collateral,
)
from dso.settlement.communities import share_energy
from dso.settlement.disputes import Addition, Dispute, Revision, contested_lines, revise
from dso.settlement.exact import BooksError
from dso.settlement.flexibility import FlexibilityOutcome, rate_activation
from dso.settlement.indicators import EmissionFactors, compute_indicators
from dso.settlement.meter_notes import MeterNote, note_meter, with_meters
from dso.settlement.outputs import describe, settlement_files, summarise, write_settlement
from dso.settlement.payments import Balance, Payee, PaymentTerms, balance_participants
from dso.settlement.read_case import read_settlement
from dso.settlement.remittance import remittance_xml
from dso.settlement.revisions import delta_lines
from dso.settlement.run import SettlementRun, settle_folder
from dso.settlement.scores import DeliveryScore, score_delivery
from dso.settlement.tariffs import Tariff, TariffBand, TariffCharge, charge_tariff
from dso.settlement.validation import find_problems

__all__ = [
    "Addition", "Balance", "BooksError", "Collateral", "CollateralDecision", "CollateralRules",
    "DeliveryScore", "Dispute", "EmissionFactors", "FlexibilityOutcome", "MeterNote", "Payee",
    "PaymentTerms", "Revision", "SettlementCase", "SettlementLine", "SettlementResult",
    "SettlementRun", "Tariff", "TariffBand", "TariffCharge", "balance_participants", "case_files",
    "charge_tariff", "check_collateral", "check_settlement", "compute_indicators",
    "contested_lines", "delta_lines", "describe", "find_problems", "note_meter", "rate_activation",
    "read_settlement", "remittance_xml", "revise", "score_delivery", "settle", "settle_folder",
    "settlement_files", "share_energy", "summarise", "with_meters", "write_settlement",
    "write_settlement_case",
]  # fmt: skip
