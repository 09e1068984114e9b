"""tellapart: from a pile of images to a classifier that you can trust and ship.

>>> import tellapart
>>> run = tellapart.train("photos", "runs/photos")            # doctest: +SKIP
>>> category, index, p = tellapart.load(run.folder).predict("new.jpg")  # doctest: +SKIP

Importing this package loads nothing heavy: each name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PLACES = {
    "Audit": "tellapart.audit.audit",
    "BACKBONES": "tellapart.model.embedded",
    "BackboneEntry": "tellapart.model.catalogue",
    "CHECKS": "tellapart.audit.checks",
    "Dataset": "tellapart.data.dataset",
    "Explainer": "tellapart.reporting.heat_maps",
    "Exported": "tellapart.ship.export",
    "Finding": "tellapart.audit.finding",
    "FinetuneOptions": "tellapart.finetuning.finetune_options",
    "Gathered": "tellapart.data.gather.gather",
    "Interpretation": "tellapart.reporting.interpretation",
    "Learner": "tellapart.finetuning.learner",
    "Metrics": "tellapart.evaluation.metrics",
    "OneCycle": "tellapart.finetuning.one_cycle",
    "Prediction": "tellapart.ship.prediction",
    "Predictor": "tellapart.ship.predictor",
    "PreprocessSpec": "tellapart.model.preprocess",
    "Receipt": "tellapart.data.receipt",
    "Report": "tellapart.reporting.report",
    "Review": "tellapart.review.review",
    "Run": "tellapart.training.run",
    "TellapartError": "tellapart.errors",
    "TrainOptions": "tellapart.training.train",
    "Transforms": "tellapart.finetuning.augment",
    "apply_decisions": "tellapart.review.cleaned",
    "check": "tellapart.audit.check",
    "clean": "tellapart.review.server",
    "compare": "tellapart.training.compare",
    "draw_gallery": "tellapart.data.gallery",
    "evaluate": "tellapart.evaluation.metrics",
    "export": "tellapart.ship.export",
    "finetune": "tellapart.finetuning.finetune",
    "gather": "tellapart.data.gather.gather",
    "list_backbones": "tellapart.model.catalogue",
    "load": "tellapart.ship.predictor",
    "lr_find": "tellapart.finetuning.lr_find",
    "open_dataset": "tellapart.training.train",
    "open_image": "tellapart.data.images",
    "plot_counts": "tellapart.reporting.counts_plot",
    "predict_to": "tellapart.ship.predict_to",
    "report": "tellapart.reporting.report",
    "serve": "tellapart.ship.server.server",
    "show": "tellapart.reporting.sheet",
    "train": "tellapart.training.train",
    "verify": "tellapart.data.gather.verify",
    "verify_export": "tellapart.ship.verify_export",
}

__all__ = [
    "BACKBONES",
    "CHECKS",
    "Audit",
    "BackboneEntry",
    "Dataset",
    "Explainer",
    "Exported",
    "Finding",
    "FinetuneOptions",
    "Gathered",
    "Interpretation",
    "Learner",
    "Metrics",
    "OneCycle",
    "Prediction",
    "Predictor",
    "PreprocessSpec",
    "Receipt",
    "Report",
    "Review",
    "Run",
    "TellapartError",
    "TrainOptions",
    "Transforms",
    "apply_decisions",
    "check",
    "clean",
    "compare",
    "draw_gallery",
    "evaluate",
    "export",
    "finetune",
    "gather",
    "list_backbones",
    "load",
    "lr_find",
    "open_dataset",
    "open_image",
    "plot_counts",
    "predict_to",
    "report",
    "serve",
    "show",
    "train",
    "verify",
    "verify_export",
]

if TYPE_CHECKING:
    from tellapart.audit.audit import Audit
    from tellapart.audit.check import check
    from tellapart.audit.checks import CHECKS
    from tellapart.audit.finding import Finding
    from tellapart.data.dataset import Dataset
    from tellapart.data.gallery import draw_gallery
    from tellapart.data.gather.gather import Gathered, gather
    from tellapart.data.gather.verify import verify
    from tellapart.data.images import open_image
    from tellapart.data.receipt import Receipt
    from tellapart.errors import TellapartError
    from tellapart.evaluation.metrics import Metrics, evaluate
    from tellapart.finetuning.augment import Transforms
    from tellapart.finetuning.finetune import finetune
    from tellapart.finetuning.finetune_options import FinetuneOptions
    from tellapart.finetuning.learner import Learner
    from tellapart.finetuning.lr_find import lr_find
    from tellapart.finetuning.one_cycle import OneCycle
    from tellapart.model.catalogue import BackboneEntry, list_backbones
    from tellapart.model.embedded import BACKBONES
    from tellapart.model.preprocess import PreprocessSpec
    from tellapart.reporting.counts_plot import plot_counts
    from tellapart.reporting.heat_maps import Explainer
    from tellapart.reporting.interpretation import Interpretation
    from tellapart.reporting.report import Report, report
    from tellapart.reporting.sheet import show
    from tellapart.review.cleaned import apply_decisions
    from tellapart.review.review import Review
    from tellapart.review.server import clean
    from tellapart.ship.export import Exported, export
    from tellapart.ship.predict_to import predict_to
    from tellapart.ship.prediction import Prediction
    from tellapart.ship.predictor import Predictor, load
    from tellapart.ship.server.server import serve
    from tellapart.ship.verify_export import verify_export
    from tellapart.training.compare import compare
    from tellapart.training.run import Run
    from tellapart.training.train import TrainOptions, open_dataset, train


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'tellapart' has no attribute {name!r}")
    try:
        value = getattr(import_module(_PLACES[name]), name)
    except ModuleNotFoundError as error:
        from tellapart.errors import MissingExtra

        raise MissingExtra.of(error) or error from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
