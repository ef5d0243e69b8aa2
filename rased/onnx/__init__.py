"""Run exported enhancers with NumPy and ONNX Runtime alone: no PyTorch.

>>> import rased.onnx
>>> rased.onnx.load.__name__
'load'
"""

from rased.onnx.runtime import Enhancer, Stream, load

__all__ = ["Enhancer", "Stream", "load"]
