"""Train, compare and load speech enhancement and dereverberation models.

>>> import rased
>>> rased.__version__
'0.1.0'
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rased.files import enhance as enhance
    from rased.models.registry import create_model as create_model
    from rased.models.registry import list_models as list_models
    from rased.zoo import list_checkpoints as list_checkpoints
    from rased.zoo import load as load

__version__ = "0.1.0"

__all__ = ["__version__", "create_model", "enhance", "list_checkpoints", "list_models", "load"]

_HOMES = {
    "create_model": "rased.models.registry",
    "enhance": "rased.files",
    "list_checkpoints": "rased.zoo",
    "list_models": "rased.models.registry",
    "load": "rased.zoo",
}


def __getattr__(name: str) -> Any:
    """Import torch and the rest when a name is first used (PEP 562)."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'rased' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
