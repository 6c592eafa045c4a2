"""Runs attacks, each in a process forked from one that has imported devi already, and measures what reading took.

    python tests/hostile/arena.py    reads lines of JSON {"script": path, "folder": path}, answers each with one line

An attack is a file beside this one with `make(folder)`, which writes the hostile file, and `read(folder)`, which is
what devi does with it. `read` may raise DeviError or return; REFUSED = "words" says that it must raise them. An attack
that tries to run code writes the file folder/"harmed". The answer: outcome (read, refused, crashed, died),
text, seconds, and mebibytes of peak memory beyond what the process had before `read`.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import runpy
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

PATIENCE = 20  # seconds until an attack that hangs is killed


def main() -> None:
    import h5py  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch

    import devi.checkpoints

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(devi.checkpoints.__path__, "devi.checkpoints."):
        importlib.import_module(module.name)
    for line in sys.stdin:
        order = json.loads(line)
        answer = fought(Path(order["script"]), Path(order["folder"]))
        print(json.dumps(answer), flush=True)


def fought(script: Path, folder: Path) -> dict[str, object]:
    attack = runpy.run_path(str(script))
    made = _forked(lambda: attack["make"](folder))  # apart, so that its memory is not counted
    return made if made["outcome"] != "read" else _forked(lambda: attack["read"](folder))


def _forked(work: Callable[[], object]) -> dict[str, object]:
    """What became of `work` in a child process."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        os.write(send, json.dumps(_measured(work)).encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if text else {"outcome": "died", "text": f"wait status {status}", "seconds": 0, "mib": 0}


def _measured(work: Callable[[], object]) -> dict[str, object]:
    import signal

    from devi.errors import DeviError

    signal.alarm(PATIENCE)
    gc.freeze()  # what importing devi left behind is not gone through: that is no work of the attack's
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before, start = _memory("VmRSS"), time.process_time()
    try:
        work()
        outcome, text = "read", ""
    except DeviError as error:
        outcome, text = "refused", str(error)
    except BaseException:
        outcome, text = "crashed", traceback.format_exc()
    seconds = time.process_time() - start  # of work: other processes share the machine; `alarm` ends a wait
    mib = (_memory("VmHWM") - before) / 1024
    return {"outcome": outcome, "text": text[:20_000], "seconds": seconds, "mib": mib}


def _memory(field: str) -> int:
    """KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"the system does not tell {field}")


if __name__ == "__main__":
    main()
