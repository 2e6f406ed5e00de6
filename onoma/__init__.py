"""onoma: multilingual named entity recognition, distilled."""

from onoma import telemetry as telemetry  # first of all: before onnxruntime
from onoma.embedder import Embedder
from onoma.errors import BundleError, LabelError, OnomaError, TextError
from onoma.labels import Entity, LabelSet
from onoma.tagger import Tagged, Tagger

__all__ = ["BundleError", "Embedder", "Entity", "LabelError", "LabelSet", "OnomaError", "Tagged", "Tagger", "TextError"]
__version__ = "0.1.0"
