"""devi's sampling beside devinterp 1.3.2 and 2.0.1.

    python benchmarks/sampling_speed.py [--rounds N] [--row NAME]… [--write]

SGLD at fixed settings, the same for all. devi samples all checkpoints at once, 4 chains each; a peer is given one
checkpoint and one chain, because each costs the same there, and the time of a step is that of a long chain less that
of a short one: copying the model, making the loader and its first pass are not counted, in the peers' favour. All
three take turns, each peer in a process of its own, a new one for each row: how fast torch is in one depends on what it
did before. A ratio is (peer's time of a step) / (devi's time of a step and chain), both of wall clock, devi's with
everything it does and all cores. A peer has as many threads as are quicker, one or all cores, found before the rounds
(on a machine that does something else all cores can be 10 times slower). Nobody calibrates: settings are given. The
longest rows are timed on fewer draws than they say, with all that devi does once per checkpoint.

All run the module as devi ships it; for the transformer also as its papers write it, every position computed. Where
`--compile` has something to compile, devi also takes its turn with it, compilation not counted (compile_gain.py).
That they sample the same: 4 chains of one checkpoint by each, whose learning coefficients must agree within errors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from compile_gain import Stopwatch
from llc_peers import HERE, old_version
from sampling_cases import CHAINS, ROWS, Row, run_of
from tables import put_table

from devi.checkpoints.reader import Run
from devi.sampling import walk
from devi.sampling.chains import sample_posterior
from devi.sampling.posterior import Posterior
from devi.sampling.samplers import kernel_named
from devi.sampling.settings import Settings

SHORT = 20  # draws: more than a pass over the data in any row
HEADER = (
    "work", "devi, µs per step and chain", "devinterp 1.3.2", "devinterp 2.0.1", "their threads", "× 1.3.2", "× 2.0.1",
    "× 1.3.2, plain module", "× 1.3.2, --compile", "goal", "LLC: devi, 1.3.2, 2.0.1",
)  # fmt: skip


class Peer:
    """A process that runs one version of devinterp."""

    def __init__(self, folder: Path, *before: Path) -> None:
        self.threads = 1
        paths = [*(str(path) for path in before), str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
        self.child = subprocess.Popen(
            [sys.executable, str(HERE / "sampling_peer_child.py"), str(folder)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )  # fmt: skip

    def asked(self, row: str, draws: int, *, chains: int = 1, plain: bool = False, seed: int = 0) -> dict[str, Any]:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        job = {"row": row, "draws": draws, "chains": chains, "plain": plain, "seed": seed, "threads": self.threads,
               "checkpoint": ROWS[row].checkpoints // 2}  # fmt: skip
        print(json.dumps(job), file=self.child.stdin, flush=True)
        answer = self.child.stdout.readline()
        if not answer:
            raise SystemExit(
                f"the peer's process ended at {row}; run it by hand: {' '.join(map(str, self.child.args))}"
            )
        return json.loads(answer)

    def step(self, row: str, draws: int, *, plain: bool = False) -> float:
        """Seconds of one step."""
        short = self.asked(row, SHORT, plain=plain)["seconds"]
        return (self.asked(row, SHORT + draws, plain=plain)["seconds"] - short) / draws

    def choose_threads(self, row: str, draws: int) -> None:
        """One, or all cores, whichever is quicker."""
        taken = {}
        for threads in (1, os.cpu_count() or 1):
            self.threads = threads
            taken[threads] = min(self.step(row, draws) for _ in range(2))
        self.threads = min(taken, key=taken.__getitem__)

    def close(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.close()
        self.child.wait()


def sampled(row: Row, run: Run, seed: int, draws: int, *, compile: bool = False) -> tuple[float, np.ndarray]:
    """Seconds of one step and chain, and λ̂ (checkpoint, chain) of the draws that are compared."""
    walk.compile_gradient = watch = Stopwatch()  # type: ignore[assignment]
    began = time.perf_counter()
    posterior = Posterior(run)
    n_beta = row.n_beta(posterior.examples)
    settings = Settings(
        "sgld", step_size=row.step_size, n_beta=n_beta, localization=row.localization, burn_in=0, draws=draws,
        most_draws=draws, chains=CHAINS, batch_size=row.batch_size,
    )  # fmt: skip
    found = sample_posterior(posterior, run.steps, settings, kernel=kernel_named("sgld"), seed=seed, compile=compile)
    seconds = time.perf_counter() - began - watch.seconds
    excess = (found["loss"] - found["base_loss"]).isel(draw=slice(row.compared)).mean("draw")
    return seconds / (len(run) * CHAINS * draws), n_beta * excess.transpose("step", "chain").values


def shown(chains: np.ndarray) -> str:
    return f"{chains.mean():.1f} ± {chains.std(ddof=1) / np.sqrt(len(chains)):.1f}"


def spread(values: list[float], digits: int = 0) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def measured(name: str, folder: Path, rounds: int, differ: list[str]) -> list[str]:
    """A row; a sentence goes to `differ` where devi and a peer did not compute the same thing."""
    row = ROWS[name]
    peers = [Peer(folder, old_version()), Peer(folder)]
    run = run_of(row, folder)
    _, llc = sampled(row, run, 0, row.compared)  # also warms up
    of_chains = [llc[row.checkpoints // 2]]
    for peer in peers:
        excess = np.array(peer.asked(name, row.compared, chains=CHAINS)["excess"])
        of_chains.append(row.n_beta(len(row.task.data("train").targets)) * excess)
    errors = [chains.std(ddof=1) / np.sqrt(len(chains)) for chains in of_chains]
    for chains, error in zip(of_chains[1:], errors[1:], strict=True):
        # 4 chains estimate an error poorly: t with 6 degrees of freedom is beyond 5 once in 400
        if abs(chains.mean() - of_chains[0].mean()) > 5 * np.hypot(error, errors[0]):
            differ.append(f"{name}: learning coefficients differ: {', '.join(map(shown, of_chains))}")
    for peer in peers:
        peer.choose_threads(name, row.peer_draws)
    has_plain = "transformer" in name
    may_compile = not getattr(row.task.replicas(), "outruns_compiled", False)
    # devi, 1.3.2, 2.0.1, 1.3.2 with the plain module, devi compiled
    times: list[list[float]] = [[], [], [], [], []]
    for number in range(rounds):
        times[0].append(sampled(row, run, number, row.timed)[0])
        for own, peer in zip(times[1:], peers, strict=False):
            own.append(peer.step(name, row.peer_draws))
        if has_plain:
            times[3].append(peers[0].step(name, row.peer_draws, plain=True))
        if may_compile:
            times[4].append(sampled(row, run, number, row.timed, compile=True)[0])
    for peer in peers:
        peer.close()
    devi, *others, compiled = [np.array(each) for each in times]
    ratios = [spread(list(each / devi), 1) if len(each) else "-" for each in others]
    ratios.append(spread(list(others[0] / compiled), 1) if len(compiled) else "-")
    return [
        name, *(spread(list(1e6 * each)) for each in (devi, *others[:2])),
        ", ".join(str(peer.threads) for peer in peers), *ratios, f"{row.goal:g}",
        ", ".join(map(shown, of_chains)),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--row", choices=list(ROWS), action="append")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for row in ROWS.values():
            run_of(row, folder)
        print(*HEADER, sep=" | ", flush=True)
        rows, differ = [], []
        for name in options.row or ROWS:
            rows.append(measured(name, folder, options.rounds, differ))
            print(*rows[-1], sep=" | ", flush=True)
    if options.write:
        load = os.getloadavg()[0]
        put_table(
            "sampling speed", HEADER, rows,
            f"Medians of {options.rounds} alternating rounds, quartiles in brackets; load {load:.1f} at the end.",
        )  # fmt: skip
    if differ:
        raise SystemExit("\n".join(differ))


if __name__ == "__main__":
    main()
