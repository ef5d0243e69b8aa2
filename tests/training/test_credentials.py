"""Names and passwords in the address of a corpus: in nothing that a run or an entry keeps."""

from pathlib import Path

from rased.config import portable, public
from rased.training.base import Enhancement
from rased.training.checkpoint import build_module

CONFIG = {
    "data": {
        "init_args": {
            "speech": ["https://me:secret@host/speech", "s3://key:secret@bucket/a"],
            "noise": ["https://host/n?token=secret&part=1"],
            "seed": 3,
        }
    },
    "trainer": {"default_root_dir": "/home/me/runs"},
}


def test_configurations_are_kept_without_credentials() -> None:
    for cut in (public, portable):
        kept = cut(CONFIG)
        assert "secret" not in str(kept)
        arguments = kept["data"]["init_args"]
        assert arguments["speech"] == ["https://host/speech", "s3://bucket/a"]
        assert arguments["noise"] == ["https://host/n?part=1"]
        assert arguments["seed"] == 3
    assert public(CONFIG)["trainer"] == CONFIG["trainer"]
    assert portable(CONFIG)["trainer"] == {"default_root_dir": "runs"}


def test_checkpoints_are_written_without_credentials() -> None:
    spec = {
        "class_path": "rased.training.waveform.WaveformEnhancement",
        "init_args": {
            "enhancer": {"class_path": "rased.models.gtcrn.GTCRN"},
            "loss": {"class_path": "rased.losses.waveform.L1"},
        },
    }
    module: Enhancement = build_module(spec)
    checkpoint = {
        "hyper_parameters": dict(module.hparams),
        "datamodule_hyper_parameters": CONFIG["data"]["init_args"],
    }
    module.on_save_checkpoint(checkpoint)
    assert "secret" not in str(checkpoint)
    assert checkpoint["datamodule_hyper_parameters"]["speech"][0] == "https://host/speech"


def test_everything_written_from_a_configuration_goes_through_one_cut() -> None:
    """config.yaml, launches.yaml and the tracker take the configuration that `Launch` has cut."""
    source = (Path(__file__).parents[2] / "rased" / "training" / "launch.py").read_text()
    assert source.index("self.config_dump = public(self.config_dump)") < min(
        source.index(word) for word in ("open_tracker(", "check_progress(")
    )
