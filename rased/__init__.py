"""Train, compare and load speech enhancement and dereverberation models.

>>> import rased
>>> rased.__version__
'0.1.0'
"""

from typing import TYPE_CHECKING

from rased.exports import lazily

if TYPE_CHECKING:
    from rased.files import enhance as enhance
    from rased.models.registry import create_model as create_model
    from rased.models.registry import list_models as list_models
    from rased.zoo import list_checkpoints as list_checkpoints
    from rased.zoo import load as load

__version__ = "0.1.0"

__all__ = ["__version__", "create_model", "enhance", "list_checkpoints", "list_models", "load"]

_HOMES = {
    "files": ("enhance",),
    "models.registry": ("create_model", "list_models"),
    "zoo": ("list_checkpoints", "load"),
}
__getattr__ = lazily(__name__, _HOMES)[1]
