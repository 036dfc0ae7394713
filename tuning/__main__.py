"""Search for a trainer's settings: learning rates, loss, target, adapters, ... judged on the validation materials.

    python -m tuning --pipeline gat --trials 30 -- --init random --epochs 10 --schedule onecycle
    python -m tuning --pipeline vision --trials 20 -- --epochs 5         # flags behind -- go to the trainer unchanged

A setting given behind `--` is not searched. Kill the search at any time and start the same command again: it
goes on inside the trial that was interrupted. Writes `<out>/<name>_trials.csv`, `<name>_best.json` and the study
itself, `<name>.db`. More: docs/tuning.md.
"""

import sys
from collections.abc import Sequence

from tc_common.cli import parse, run


def main(arguments: Sequence[str]) -> None:
    """Search, and print the best trial's command line."""
    from tuning.pipelines import PIPELINES  # here, so that a missing optuna is one line
    from tuning.report import say_best
    from tuning.search import search
    from tuning.study import TuneConfig

    words = list(arguments)
    at = words.index("--") if "--" in words else len(words)
    config = parse(TuneConfig, prog="python -m tuning", description=__doc__ or "", args=words[:at])
    print(say_best(search(PIPELINES[config.pipeline], config, words[at + 1 :]), config))


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
