"""One shipped study for all tests of the room; they read it and change copies only."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from prediction.ship import ShipConfig, main
from tests.prediction.made import make_study


@dataclass(frozen=True)
class ShippedStudy:
    """Folders of a study and of what was shipped of it."""

    folder: Path
    models: Path
    splits: dict[str, pd.DataFrame]

    def config(self, out: Path) -> ShipConfig:
        """The command line that ships it to `out`."""
        folder = self.folder
        return ShipConfig(
            results_dir=folder / "r", data_dir=folder / "p", alignn=(folder / "m/alignn_best.pth",), trees=500, out=out
        )

    def cif(self, split: str, row: int = 0) -> Path:
        """The CIF of one material."""
        return Path(self.splits[split]["cif"].iloc[row])


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> ShippedStudy:
    """A tiny ALIGNN, trees and their ensemble, shipped by the real command's functions."""
    folder = tmp_path_factory.mktemp("study")
    splits = make_study(folder)
    study = ShippedStudy(folder, folder / "models", splits)
    main(study.config(study.models))
    return study
