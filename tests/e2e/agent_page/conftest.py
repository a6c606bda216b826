"""The page's reader: a stand-in for the model is theirs too."""

from tests.e2e.model_api import models

__all__ = ["models"]
