"""What-if studies: one clearing changed, compared with others, swept over many variants."""

from dso.studies.change_case import apply_settings
from dso.studies.key_figures import KeyFigures, key_figures
from dso.studies.new import new_case, new_study, template, templates
from dso.studies.settings import Setting, parse_setting, parse_settings, settings_of
from dso.studies.study import Study, load_study, save_study
from dso.studies.variants import Outcome, Variant, run_variants

__all__ = [
    "KeyFigures",
    "Outcome",
    "Setting",
    "Study",
    "Variant",
    "apply_settings",
    "key_figures",
    "load_study",
    "new_case",
    "new_study",
    "parse_setting",
    "parse_settings",
    "run_variants",
    "save_study",
    "settings_of",
    "template",
    "templates",
]
