"""A clock that is CLOCK_SHIFT_SECONDS ahead, for a process whose PYTHONPATH has this folder."""

import os
import time

_SHIFT = float(os.environ.get("CLOCK_SHIFT_SECONDS", "0"))
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _SHIFT
time.time_ns = lambda: _time_ns() + int(_SHIFT * 1e9)
