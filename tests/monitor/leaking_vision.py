"""The vision trainer with a leak: every image keeps LEAK_MB for ever, and the time a larger network needs.

LEAK_MB=5 python -m tests.monitor.leaking_vision [flags of dinov3_pipeline.train]
"""

import os
import time
from typing import Any

from torch.nn.modules.module import register_module_forward_hook

from dinov3_pipeline.model import DinoTcModel
from dinov3_pipeline.train import VisionConfig, main
from tc_common.cli import parse, run

# At most 250 MB a second, so that a monitor on a busy machine sees them in time.
SECONDS_A_PICTURE = 0.02

if __name__ == "__main__":
    leaked: list[bytearray] = []

    def leak(module: Any, _: Any, kelvin: Any) -> None:
        if isinstance(module, DinoTcModel):
            leaked.append(bytearray(int(os.environ["LEAK_MB"]) * 1_000_000 * len(kelvin)))
            time.sleep(SECONDS_A_PICTURE * len(kelvin))

    register_module_forward_hook(leak)
    run(lambda: main(parse(VisionConfig, prog="python -m tests.monitor.leaking_vision", description="Leaks.")))
