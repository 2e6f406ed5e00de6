"""Telemetry: none. onnxruntime reports to its makers unless this is set before it is imported.

Whoever wants it sets the variable themselves, to 0.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
