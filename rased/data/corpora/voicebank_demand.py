"""VoiceBank+DEMAND: a widely used small benchmark; its test set is used for testing only."""

from collections.abc import Iterator
from pathlib import Path

from rased.data.corpora.base import Archive, Item, Pair, PublicCorpus, audio_below
from rased.data.corpora.vctk import VOICEBANK_VALID_SPEAKERS

_MD5 = {
    "clean_trainset_28spk_wav": "d2d5a45ec32f8fcbf201bde0447e20ba",
    "clean_testset_wav": "34eb1c0ba7ef667e9b966866c542fc16",
    "noisy_testset_wav": "fb1b86caa31e8ba5b506c0c64da9aab5",
    "logfiles": "",
}
_TRAIN = ("clean_trainset_28spk_wav", "clean_trainset_28spk_wav_16k", "clean_trainset_wav")
_TEST = ("{}_testset_wav", "{}_testset_wav_16k")
_LAST = {"p232": 415, "p257": 434}
_UNUSED = {
    "p232": {4, 8, 18, 26, 111, 122, 149, 157, 166, 168, 192, 212, 222, 233, 262, 304, 345, 376}
    | {395, 401, 406, 408},
    "p257": {5, 21, 134},
}
"""Numbers below the last utterance of a test speaker that are not in the test set, which leaves 824 utterances.

As in VoiceBank+DEMAND/test.txt of https://github.com/yxlu-0102/MP-SENet.
"""


def walk(root: Path) -> Iterator[Item]:
    """Yield the clean training speech; noise for it comes from DEMAND (`rased data prepare demand`)."""
    for path in audio_below(_folder(root, _TRAIN)):
        speaker = path.stem.partition("_")[0]
        split = "valid" if speaker in VOICEBANK_VALID_SPEAKERS else "train"
        name = path.relative_to(root).as_posix()
        yield Item(name, "speech", split, speaker, "CC-BY-4.0", "VoiceBank (VCTK)")


def pairs(root: Path) -> Iterator[Pair]:
    """Yield the 824 test pairs in the order of their names, with noise and SNR from the log."""
    clean = _folder(root, [name.format("clean") for name in _TEST])
    noisy = _folder(root, [name.format("noisy") for name in _TEST])
    log: dict[str, list[str]] = {}
    for file in sorted(root.rglob("log_testset.txt"))[:1]:
        for line in file.read_text().splitlines():
            words = line.split()
            # Utterance, noise, SNR in dB.
            if len(words) == 3:
                log[words[0]] = words[1:]
    for path in audio_below(noisy):
        facts: dict[str, object] = {"condition": "noise", "speaker": path.stem.partition("_")[0]}
        if path.stem in log:
            facts |= {"noise_type": log[path.stem][0], "snr_db": float(log[path.stem][1])}
        yield Pair(path.stem, path, clean / path.relative_to(noisy), facts)


def standard_ids() -> tuple[str, ...]:
    """Return the names of the 824 test utterances.

    >>> len(standard_ids()), standard_ids()[3]
    (824, 'p232_005')
    """
    return tuple(
        f"{speaker}_{number:03d}"
        for speaker, last in _LAST.items()
        for number in range(1, last + 1)
        if number not in _UNUSED[speaker]
    )


def _folder(root: Path, names: list[str] | tuple[str, ...]) -> Path:
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


CORPUS = PublicCorpus(
    name="voicebank-demand",
    title="VoiceBank+DEMAND (28 speakers)",
    roles=("speech",),
    hours=10,
    sample_rate=48_000,
    licence="CC-BY-4.0",
    citation="Valentini-Botinhao, Wang, Takaki, Yamagishi: Investigating RNN-based speech enhancement "
    "methods for noise-robust text-to-speech. SSW 2016.",
    homepage="https://datashare.ed.ac.uk/handle/10283/2791",
    splits="p226 and p287 of the training speakers are valid; the test set (p232, p257) becomes a "
    "frozen test set of 824 pairs and nothing else",
    layout="clean_trainset_28spk_wav/p226_001.wav",
    walk=walk,
    archives=tuple(
        Archive(
            part="logs" if name == "logfiles" else name.split("_")[1],
            name=f"{name}.zip",
            urls=tuple(
                f"https://{host}/bitstream/handle/10283/2791/{name}.zip"
                for host in ("datashare.ed.ac.uk", "datashare.is.ed.ac.uk")
            ),
            checksum=f"md5:{md5}" if md5 else "",
            holds="log_testset.txt" if name == "logfiles" else name,
        )
        for name, md5 in _MD5.items()
    ),
    pairs=pairs,
    test_ids=standard_ids(),
    texts=("license_text",),
)
