"""The configurations of public corpora build, and name corpora that there are."""

import pytest
from pytorch_lightning import LightningDataModule

from rased.building import build
from rased.config import config_folder, load_configs
from rased.data.corpora import CORPORA
from rased.data.datamodule import MixtureDataModule

CONFIGS = [
    path
    for path in sorted((config_folder() / "data").glob("*.yaml"))
    if "rased data prepare" in path.read_text()
]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_builds_from_shards_that_its_commands_write(path):
    config = load_configs([str(path)])["data"]
    assert isinstance(build(LightningDataModule, config), MixtureDataModule)
    commands = [
        line.split() for line in path.read_text().splitlines() if "rased data prepare" in line
    ]
    written = {
        words[words.index("--out") + 1]: words[words.index("prepare") + 1] for words in commands
    }
    for role in ("speech", "noise", "rir"):
        for folder in config["init_args"][role]:
            assert role in CORPORA[written[folder]].roles
