"""talon_lib: bits, parallelism and device for spiking neural networks.

``from talon_lib import ir, backend`` stands in for ``from talon import ir, backend`` of the TALON SDK.
"""

from talon_lib import backend, ir
from talon_lib._version import __version__
from talon_lib.errors import TalonError

__all__ = ["TalonError", "__version__", "backend", "ir"]
