"""JoeyNMT's training of a configuration file, going on where it was interrupted: its own command begins anew.

``python -m benchmarks.joeynmt_training FILE``, in JoeyNMT's environment.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(place: Path) -> None:
    """As ``python -m joeynmt train --skip-test`` does it, from the last checkpoint where there is one."""
    from joeynmt.config import load_config
    from joeynmt.helpers_for_ddp import get_logger
    from joeynmt.training import train

    asked = load_config(place)
    directory = Path(asked["model_dir"])
    if (directory / f"{asked['training']['updates']}.ckpt").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    get_logger("", log_file=str(directory / "train.log"))
    if (latest := directory / "latest.ckpt").exists():
        asked["training"]["load_model"] = str(latest)
    train(rank=0, world_size=None, cfg=asked, skip_test=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
