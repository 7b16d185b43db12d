"""Stands for nmt-train in tests of nmt-study: does what the environment says, in a moment and without torch.

``FAKE_KEYS`` holds the key of each run by its directory; ``FAKE_DO`` what to do there: ``fail``, ``crash``, ``die``,
``wait`` (until it is asked to stop), or by default to finish after ``FAKE_SECONDS``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """As ``python -m fake_run RECIPE --run DIRECTORY``."""
    run = Path(sys.argv[3])
    key, do = (json.loads(os.environ[name]).get(str(run), "") for name in ("FAKE_KEYS", "FAKE_DO"))
    run.mkdir(parents=True, exist_ok=True)

    def note(what: str) -> None:
        with open(run.parent / f"{run.name}.events", "a", encoding="utf-8") as stream:
            stream.write(f"{what} {time.monotonic()}\n")

    def stop(number: int, frame: Any) -> None:
        note(signal.Signals(number).name)
        sys.exit(130)

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, stop)
    note("begin")
    if do == "fail":
        print("what came before\nerror: training diverged", file=sys.stderr)
        sys.exit(2)
    if do == "crash":
        raise RuntimeError("a bug")
    if do == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60 if do == "wait" else float(os.environ.get("FAKE_SECONDS", "0")))
    note("end")
    with open(run / "log.jsonl", "a", encoding="utf-8") as stream:
        stream.write(json.dumps({"event": "end", "update": 1, "settings": key, "seconds": 1.0, "loss": 0.5}) + "\n")


if __name__ == "__main__":
    main()
