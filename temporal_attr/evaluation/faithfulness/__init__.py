"""Does an explanation say what the model does? Features are removed, and the model asked again."""

from temporal_attr.evaluation._metric import Metric
from temporal_attr.evaluation.faithfulness._average_drop import (
    AverageDrop,
    AverageIncrease,
    average_drop,
    average_increase,
)
from temporal_attr.evaluation.faithfulness._curves import (
    ABPC,
    Deletion,
    Insertion,
    area_between_curves,
    curve_area,
)
from temporal_attr.evaluation.faithfulness._features import Features, shared_clips
from temporal_attr.evaluation.faithfulness._imputation import imputed
from temporal_attr.evaluation.faithfulness._infidelity import Infidelity, infidelity_of_samples
from temporal_attr.evaluation.faithfulness._leave_one_out import LeaveOneOut, leave_one_out
from temporal_attr.evaluation.faithfulness._minimal_frames import (
    MinimalNecessaryFrames,
    MinimalSufficientFrames,
    smallest_share,
)
from temporal_attr.evaluation.faithfulness._predicted import RisingObjective
from temporal_attr.evaluation.faithfulness._road import ROAD, removal_area
from temporal_attr.evaluation.faithfulness._saco import SaCo, salience_coefficient
from temporal_attr.evaluation.faithfulness._sensitivity_n import SensitivityN, sensitivity_n

FAITHFULNESS: tuple[type[Metric], ...] = (
    Deletion,
    Insertion,
    ABPC,
    AverageDrop,
    AverageIncrease,
    MinimalSufficientFrames,
    MinimalNecessaryFrames,
    SensitivityN,
    Infidelity,
    LeaveOneOut,
    ROAD,
    SaCo,
)
"""All metrics of this family."""

__all__ = [
    "ABPC",
    "FAITHFULNESS",
    "ROAD",
    "AverageDrop",
    "AverageIncrease",
    "Deletion",
    "Features",
    "Infidelity",
    "Insertion",
    "LeaveOneOut",
    "MinimalNecessaryFrames",
    "MinimalSufficientFrames",
    "RisingObjective",
    "SaCo",
    "SensitivityN",
    "area_between_curves",
    "average_drop",
    "average_increase",
    "curve_area",
    "imputed",
    "infidelity_of_samples",
    "leave_one_out",
    "removal_area",
    "salience_coefficient",
    "sensitivity_n",
    "shared_clips",
    "smallest_share",
]
