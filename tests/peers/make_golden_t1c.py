"""The golden file ``tests/golden/sdk.t1c``, written by the TALON SDK (talon-ir 0.0.2).

Run it with t1c-talon installed and ``tests`` on the path: ``PYTHONPATH=tests python tests/peers/make_golden_t1c.py``.
"""

from pathlib import Path

import exchange
import talon.ir

OUT = Path(__file__).parents[1] / "golden" / "sdk.t1c"
talon.ir.write(OUT, exchange.everything().make(talon.ir))
print(f"wrote {OUT}")
