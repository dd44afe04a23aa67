"""Which requests can a small, quantised variant answer as well as the best one?

`features` turns a request into hashed n-grams and a few dense numbers, `model` scores them with numpy alone (this is what the gateway imports),
`train` fits the weights with scikit-learn and `evaluate` measures them beside their controls. `Scorer` is the interface: anything that scores may
replace ours.
"""

from jevons.classifier.features import RequestFeatures, read_request
from jevons.classifier.model import Classifier, ClassifierError, Curve, Scorer, load_scorer

__all__ = ["Classifier", "ClassifierError", "Curve", "RequestFeatures", "Scorer", "load_scorer", "read_request"]
