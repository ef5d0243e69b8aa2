"""Every corpus on a miniature replica of its real layout: roles, splits, labels, licences, counts."""

import io
import json
import zlib
from collections import Counter, defaultdict

import numpy as np
import pytest
import soundfile

from rased.audio import SUFFIXES
from rased.data.corpora import CORPORA, find
from rased.data.corpora.base import VOICEBANK_TEST_SPEAKERS, creative_commons, split_by
from rased.data.corpora.demand import TEST_PLACES
from rased.data.corpora.vctk import split_of
from rased.errors import RasedError

WHAM = "40na010x_1.9857_01xo031a_-1.9857.wav"
ESC50_LICENCE = """\
- [1-100032-A.ogg]: clip derived from rose_bark.wav (http://www.freesound.org/s/100032/) by nfrae [CC0]
- [5-9032-A.ogg]:  clip derived from Dog bark2.wav (http://www.freesound.org/s/9032/) by MisterTood [CC-BY]
"""
ESC50_TABLE = """\
filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
4-182395-A-0.wav,4,0,dog,True,182395,A
5-9032-A-0.wav,5,0,dog,True,9032,A
1-7777-A-1.wav,1,1,rooster,True,7777,A
5-7777-B-1.wav,5,1,rooster,True,7777,B
"""
FSD_DEV = """\
fname,labels,mids,split
64760,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf",train
16399,"Rain,Water","/m/06mb1,/m/0838f",val
1,"Male_speech_and_man_speaking,Speech,Human_voice","/m/05zppz,/m/09x0r,/m/09l8g",train
2,"Whispering,Human_voice","/m/02rtxlg,/m/09l8g",train
3,"Yell,Shout,Human_voice","/m/07sr1lc,/m/07p6fty,/m/09l8g",val
"""
FSD_EVAL = 'fname,labels,mids\n37199,"Wind","/m/03m9d0z"\n'
FSD_CLIPS = {
    "64760": {"license": "http://creativecommons.org/licenses/by/3.0/", "uploader": "anna"},
    "16399": {"license": "http://creativecommons.org/licenses/by-nc/3.0/", "uploader": "bert"},
}
FSD_EVAL_CLIPS = {
    "37199": {"license": "http://creativecommons.org/publicdomain/zero/1.0/", "uploader": "carl"}
}
MANIFEST = """\
path,role,split,label,licence,source,note,sha256
speech/a.flac,speech,train,anna,CC0-1.0,here,loud,
speech/b.flac,speech,test,bert,CC-BY-4.0,,,
noise/c.opus,noise,valid,rain,CC0-1.0,,,
rir/d.flac,rir,,kitchen,MIT,,,
"""

REPLICAS = {
    "voicebank-demand": {
        "clean_trainset_28spk_wav/p226_001.wav": ("speech", "valid", "p226", "CC-BY-4.0"),
        "clean_trainset_28spk_wav/p287_002.wav": ("speech", "valid", "p287", "CC-BY-4.0"),
        "clean_trainset_28spk_wav/p228_001.wav": ("speech", "train", "p228", "CC-BY-4.0"),
        "noisy_trainset_28spk_wav/p228_001.wav": None,
        "clean_testset_wav/p232_001.wav": None,
        "noisy_testset_wav/p232_001.wav": None,
        "clean_testset_wav/p257_434.wav": None,
        "noisy_testset_wav/p257_434.wav": None,
        "log_testset.txt": "p257_434 bus 17.5\np232_001 psquare 2.5\n",
    },
    "dns": {
        "datasets_fullband/clean_fullband/read_speech/book_00000_chp_0009_reader_06709_0_seg_1.wav": (
            "speech",
            split_by("reader_06709"),
            "reader_06709",
            "LibriVox (public domain)",
        ),
        "datasets_fullband/clean_fullband/vctk_wav48_silence_trimmed/p226/p226_001_mic1.wav": (
            "speech",
            split_by("p226"),
            "p226",
            "ODC-BY-1.0",
        ),
        "datasets_fullband/clean_fullband/vctk_wav48_silence_trimmed/p232/p232_001_mic1.wav": None,
        "datasets_fullband/clean_fullband/emotional_speech/crema_d/1001_DFA_ANG_XX.wav": (
            "speech",
            split_by("1001"),
            "1001",
            "ODbL-1.0",
        ),
        "datasets_fullband/clean_fullband/german_speech/M-AILABS_Speech_Dataset/de_DE/female/"
        "ramona/buch/wavs/x_01.wav": (
            "speech",
            split_by("ramona"),
            "ramona",
            "see the challenge's list",
        ),
        "datasets_fullband/clean_fullband/VocalSet_48kHz_mono/vocalset_male1_arpeggios.wav": None,
        "datasets_fullband/noise_fullband/door_Freesound_validated_248906_2.wav": (
            "noise",
            split_by("door_Freesound_validated_248906"),
            "door",
            "CC0-1.0",
        ),
        "datasets_fullband/noise_fullband/-0a9y7JlS5c.wav": (
            "noise",
            split_by("-0a9y7JlS5c"),
            "audioset",
            "CC-BY-4.0",
        ),
        "datasets/impulse_responses/SLR26/simulated_rirs_48k/smallroom/Room009/Room009-00001.wav": (
            "rir",
            "test",
            "smallroom-Room009",
            "Apache-2.0",
        ),
        "datasets/impulse_responses/SLR28/RIRS_NOISES/real_rirs_isotropic_noises/"
        "RVB2014_type1_rir_largeroom1_far_angla.wav": (
            "rir",
            "train",
            "LargeRoom1",
            "Apache-2.0",
        ),
    },
    "librispeech": {
        "LibriSpeech/train-clean-100/103/1240/103-1240-0000.flac": (
            "speech",
            "train",
            "103",
            "CC-BY-4.0",
        ),
        "LibriSpeech/train-clean-100/103/1240/103-1240.trans.txt": "103-1240-0000 CHAPTER ONE\n",
        "LibriSpeech/train-other-500/20/205/20-205-0000.flac": (
            "speech",
            "train",
            "20",
            "CC-BY-4.0",
        ),
        "LibriSpeech/dev-clean/84/121123/84-121123-0000.flac": (
            "speech",
            "valid",
            "84",
            "CC-BY-4.0",
        ),
        "LibriSpeech/test-other/367/130732/367-130732-0000.flac": (
            "speech",
            "test",
            "367",
            "CC-BY-4.0",
        ),
        "LibriSpeech/LICENSE.TXT": "CC BY 4.0\n",
    },
    "libritts": {
        "LibriTTS/train-clean-100/103/1241/103_1241_000000_000001.wav": (
            "speech",
            "train",
            "103",
            "CC-BY-4.0",
        ),
        "LibriTTS/train-clean-100/103/1241/103_1241_000000_000001.normalized.txt": "matthew\n",
        "LibriTTS/dev-other/116/288045/116_288045_000003_000000.wav": (
            "speech",
            "valid",
            "116",
            "CC-BY-4.0",
        ),
        "LibriTTS/test-clean/1089/134686/1089_134686_000001_000001.wav": (
            "speech",
            "test",
            "1089",
            "CC-BY-4.0",
        ),
    },
    "vctk": {
        f"VCTK-Corpus-0.92/wav48_silence_trimmed/{speaker}/{speaker}_001_mic{mic}.flac": (
            "speech",
            split,
            speaker,
            "CC-BY-4.0",
        )
        for mic in (1, 2)
        for speaker, split in (
            ("p225", "valid"),
            ("p226", "valid"),
            ("p228", "train"),
            ("p232", "test"),
            ("p257", "test"),
            ("p287", "valid"),
        )
    },
    "ears": {
        "EARS/p001/emo_anger_sentences.wav": ("speech", "train", "p001", "CC-BY-NC-4.0"),
        "EARS/p001/vegetative.wav": None,
        "EARS/p001/nonverbal_crying.wav": None,
        "EARS/p101/freeform_speech_01.wav": ("speech", "valid", "p101", "CC-BY-NC-4.0"),
        "EARS/p107/sentences_01_whisper.wav": ("speech", "test", "p107", "CC-BY-NC-4.0"),
    },
    "ears-wham": {
        "EARS-WHAM/train/clean/p001/00000.wav": ("speech", "train", "p001", "CC-BY-NC-4.0"),
        "EARS-WHAM/train/noisy/p001/00000_3.2dB.wav": None,
        "EARS-WHAM/valid/clean/p100/00000.wav": ("speech", "valid", "p100", "CC-BY-NC-4.0"),
        "EARS-WHAM/test/clean/p102/00007.wav": None,
        "EARS-WHAM/test/noisy/p102/00007_-2.5dB.wav": None,
    },
    "ears-reverb": {
        "EARS-Reverb_v2/train/clean/p002/00000.wav": ("speech", "train", "p002", "CC-BY-NC-4.0"),
        "EARS-Reverb_v2/test/clean/p103/00001.wav": None,
        "EARS-Reverb_v2/test/reverberant/p103/00001_0.53.wav": None,
    },
    "wsj0": {
        "11-1.1/wsj0/si_tr_s/011/011c0201.wav": ("speech", "train", "011", "LDC"),
        "11-6.1/wsj0/si_dt_05/050/050c0101.flac": ("speech", "valid", "050", "LDC"),
        "11-14.1/wsj0/si_et_05/440/440c0201.wav": ("speech", "test", "440", "LDC"),
        "11-1.1/wsj0/si_tr_l/4k0/4k0c0301.wav": None,
        "11-1.1/wsj0/si_tr_s/011/011c0202.wv1": "compressed SPHERE",
    },
    "wham": {
        f"wham_noise/tr/{WHAM}": ("noise", "train", "Tony's", "CC-BY-NC-4.0"),
        "wham_noise/cv/a.wav": ("noise", "valid", "unknown place", "CC-BY-NC-4.0"),
        "wham_noise/tt/b.wav": ("noise", "test", "unknown place", "CC-BY-NC-4.0"),
        "wham_noise/metadata/noise_meta_tr.csv": f"utterance_id,Location ID\n{WHAM},Tony's\n",
    },
    "whamr": {
        f"whamr/wav16k/max/tr/s1_anechoic/{WHAM}": ("speech", "train", "40n", "LDC"),
        "whamr/wav16k/max/cv/s1_anechoic/40na0101_1_01xo0302_-1.wav": (
            "speech",
            "train",
            "40n",
            "LDC",
        ),
        "whamr/wav16k/max/tr/mix_single_reverb/40na010x_1_01xo031a_-1.wav": None,
        "whamr/wav16k/max/tt/s1_anechoic/050a0501_1.7_442o030z_-1.7.wav": None,
        "whamr/wav16k/max/tt/mix_single_reverb/050a0501_1.7_442o030z_-1.7.wav": None,
    },
    "reverb": {
        f"reverb_tools_for_Generate_{tool}/{file}": (role, split, room, "unknown (none stated)")
        for tool, file, role, split, room in (
            ("mcTrainData", "RIR/RIR_SmallRoom1_near_AnglA.wav", "rir", "train", "SmallRoom1"),
            ("mcTrainData", "RIR/RIR_LargeRoom2_far_AnglB.wav", "rir", "valid", "LargeRoom2"),
            ("mcTrainData", "NOISE/Noise_SmallRoom1_1.wav", "noise", "train", "SmallRoom1"),
            ("SimData", "RIR/RIR_SimRoom1_near_AnglA.wav", "rir", "test", "SimRoom1"),
            ("SimData", "NOISE/Noise_SimRoom1_10.wav", "noise", "test", "SimRoom1"),
        )
    }
    | {
        f"REVERB_WSJCAM0_et/data/{kind}/primary_microphone/si_et_1/c30/c30c0201{end}.wav": None
        for kind, end in (
            ("near_test", "_ch1"),
            ("near_test", "_ch2"),
            ("far_test", "_ch1"),
            ("cln_test", ""),
        )
    },
    "musan": {
        "musan/noise/free-sound/noise-free-sound-0000.wav": (
            "noise",
            "train",
            "free-sound",
            "CC-BY-4.0",
        ),
        "musan/noise/free-sound/noise-free-sound-0002.wav": (
            "noise",
            "test",
            "free-sound",
            "CC-BY-4.0",
        ),
        "musan/music/fma/music-fma-0000.wav": ("noise", "train", "music-fma", "CC-BY-4.0"),
        "musan/speech/librivox/speech-librivox-0000.wav": None,
        "musan/noise/free-sound/LICENSE": "public domain\n",
    },
    "demand": {
        "DKITCHEN/ch01.wav": ("noise", "train", "DKITCHEN", "CC-BY-SA-3.0"),
        "DKITCHEN/ch16.wav": ("noise", "train", "DKITCHEN", "CC-BY-SA-3.0"),
        "NRIVER/ch01.wav": ("noise", "valid", "NRIVER", "CC-BY-SA-3.0"),
        "TBUS/ch01.wav": ("noise", "test", "TBUS", "CC-BY-SA-3.0"),
        "SCAFE/ch01.wav": ("noise", "test", "SCAFE", "CC-BY-SA-3.0"),
        "KITCHEN/ch01.wav": None,
    },
    "fsd50k": {
        "FSD50K.dev_audio/64760.wav": ("noise", "train", "Electric_guitar", "CC-BY-3.0"),
        "FSD50K.dev_audio/16399.wav": ("noise", "valid", "Rain", "CC-BY-NC-3.0"),
        "FSD50K.dev_audio/1.wav": None,
        "FSD50K.dev_audio/2.wav": None,
        "FSD50K.dev_audio/3.wav": None,
        "FSD50K.eval_audio/37199.wav": ("noise", "test", "Wind", "CC0-1.0"),
        "FSD50K.ground_truth/dev.csv": FSD_DEV,
        "FSD50K.ground_truth/eval.csv": FSD_EVAL,
        "FSD50K.metadata/dev_clips_info_FSD50K.json": json.dumps(FSD_CLIPS),
        "FSD50K.metadata/eval_clips_info_FSD50K.json": json.dumps(FSD_EVAL_CLIPS),
    },
    "esc50": {
        "ESC-50-master/audio/1-100032-A-0.wav": ("noise", "train", "dog", "CC0"),
        "ESC-50-master/audio/4-182395-A-0.wav": ("noise", "valid", "dog", "CC-BY-NC-3.0"),
        "ESC-50-master/audio/5-9032-A-0.wav": ("noise", "test", "dog", "CC-BY"),
        "ESC-50-master/audio/1-7777-A-1.wav": None,
        "ESC-50-master/audio/5-7777-B-1.wav": None,
        "ESC-50-master/meta/esc50.csv": ESC50_TABLE,
        "ESC-50-master/LICENSE": ESC50_LICENCE,
    },
    "slr26": {
        f"simulated_rirs_16k/{size}/{room}/{room}-00001.wav": (
            "rir",
            split,
            f"{size}-{room}",
            "Apache-2.0",
        )
        for size, room, split in (
            ("smallroom", "Room001", "train"),
            ("smallroom", "Room009", "test"),
            ("smallroom", "Room024", "valid"),
            ("largeroom", "Room003", "train"),
        )
    },
    "slr28": {
        f"RIRS_NOISES/{path}": (role, split, label, "Apache-2.0")
        for path, role, split, label in (
            (
                "simulated_rirs/smallroom/Room009/Room009-00001.wav",
                "rir",
                "test",
                "smallroom-Room009",
            ),
            (
                "real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_far_angla.wav",
                "rir",
                "train",
                "LargeRoom1",
            ),
            (
                "real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav",
                "noise",
                "train",
                "LargeRoom1",
            ),
            (
                "real_rirs_isotropic_noises/air_type1_air_binaural_aula_carolina_0_1_1_rir.wav",
                "rir",
                split_by("AIR-aula_carolina"),
                "AIR-aula_carolina",
            ),
            (
                "real_rirs_isotropic_noises/RWCP_type2_rir_cirline_ofc_imp_rev.wav",
                "rir",
                split_by("RWCP"),
                "RWCP",
            ),
            ("pointsource_noises/noise-free-sound-0002.wav", "noise", "test", "free-sound"),
        )
    },
    "but-reverbdb": {
        f"BUT_ReverbDB/{room}/MicID01/SpkID01_20190503_S/01/{kind}/{file}.wav": (
            role,
            split,
            room,
            "CC-BY-4.0",
        )
        for room, split in (
            ("VUT_FIT_Q301", "train"),
            ("VUT_FIT_L212", "valid"),
            ("VUT_FIT_C236", "test"),
            ("Hotel_SkalskyDvur_Room112", "test"),
        )
        for kind, file, role in (
            ("RIR", "IR_sweep_15s_45Hzto22kHz_FS16kHz.v00", "rir"),
            ("silence", "silence.v00", "noise"),
        )
    },
    "mit-ir": {
        "Audio/h114_Restaurant_1txts.wav": (
            "rir",
            split_by("h114_Restaurant"),
            "h114_Restaurant",
            "unknown (none stated)",
        ),
        "Audio/h007_Bathroom_Small_41txts.wav": (
            "rir",
            split_by("h007_Bathroom_Small"),
            "h007_Bathroom_Small",
            "unknown (none stated)",
        ),
    },
    "folder": {
        "speech/anna/1.wav": ("speech", split_by("anna"), "anna", "unknown"),
        "speech/test/bert/2.wav": ("speech", "test", "bert", "unknown"),
        "noise/rain.wav": ("noise", "train", "noise", "unknown"),
        "rir/valid/kitchen/1.wav": ("rir", "valid", "kitchen", "unknown"),
        "notes.wav": None,
    },
    "manifest": {
        "speech/a.flac": ("speech", "train", "anna", "CC0-1.0"),
        "speech/b.flac": ("speech", "test", "bert", "CC-BY-4.0"),
        "noise/c.opus": ("noise", "valid", "rain", "CC0-1.0"),
        "rir/d.flac": ("rir", split_by("kitchen"), "kitchen", "MIT"),
        "speech/unlisted.flac": None,
        "manifest.csv": MANIFEST,
    },
}


REPLICAS["commons"] = REPLICAS["manifest"]


def audio(suffix, name):
    """A tenth of a second, different for every name."""
    buffer = io.BytesIO()
    pitch = 0.1 + zlib.crc32(name.encode()) / 2**32
    kind = {"format": "OGG", "subtype": "OPUS"} if suffix == ".opus" else {"format": suffix[1:]}
    soundfile.write(buffer, 0.3 * np.sin(pitch * np.arange(1600)), 16_000, **kind)
    return buffer.getvalue()


def replica(name, root):
    """Write the replica of a corpus: text where a text is given, a tone where audio is meant."""
    for path, what in REPLICAS[name].items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix in SUFFIXES:
            file.write_bytes(audio(file.suffix, path))
        else:
            file.write_text(what)
    return root


def wanted(name):
    return {path: what for path, what in REPLICAS[name].items() if isinstance(what, tuple)}


def test_every_corpus_has_a_replica():
    assert REPLICAS.keys() == CORPORA.keys()


@pytest.mark.parametrize("name", CORPORA)
class TestEveryCorpus:
    def test_finds_what_is_to_be_used_and_nothing_else(self, name, tmp_path):
        found = list(CORPORA[name].walk(replica(name, tmp_path)))
        assert {item.path: (item.role, item.split, item.label, item.licence) for item in found} == (
            wanted(name)
        )
        assert len(found) == len(wanted(name))
        assert all((tmp_path / item.path).is_file() for item in found)
        assert {item.role for item in found} == set(CORPORA[name].roles)

    def test_no_speaker_and_no_room_is_in_two_splits(self, name, tmp_path):
        splits = defaultdict(set)
        for item in CORPORA[name].walk(replica(name, tmp_path)):
            if item.role != "noise":
                splits[item.role, item.label].add(item.split)
        assert max(map(len, splits.values()), default=1) == 1

    def test_an_empty_folder_holds_nothing(self, name, tmp_path):
        assert list(CORPORA[name].walk(tmp_path)) == []
        pairs = CORPORA[name].pairs
        assert pairs is None or list(pairs(tmp_path)) == []

    def test_tells_how_to_get_it_and_whose_it_is(self, name):
        corpus = CORPORA[name]
        assert corpus.how
        assert corpus.licence
        assert corpus.splits
        if name not in ("folder", "manifest", "commons"):
            assert corpus.citation
            assert corpus.homepage.startswith("http")

    def test_downloads_are_well_formed(self, name):
        archives = CORPORA[name].archives
        assert max(Counter(archive.name for archive in archives).values(), default=1) == 1
        lengths = {"md5": 32, "sha256": 64, "": 0}
        for archive in archives:
            kind, _, digest = archive.checksum.partition(":")
            assert len(digest) == lengths[kind]
            assert set(digest) <= set("0123456789abcdef")
            assert archive.holds
            assert all(url.startswith(("https://", "http://")) for url in archive.urls)
            assert set(archive.joined) < {other.name for other in archives} | {""}


class TestLayouts:
    @pytest.mark.parametrize("name", ["librispeech", "libritts", "ears", "musan", "wham", "slr28"])
    def test_the_corpus_folder_itself_serves_as_root(self, name, tmp_path):
        root = replica(name, tmp_path)
        inner = next(path for path in root.iterdir() if path.is_dir())
        found = {item.path: item.label for item in CORPORA[name].walk(inner)}
        assert found == {path.partition("/")[2]: what[2] for path, what in wanted(name).items()}

    def test_dns_4_has_its_speech_one_folder_higher(self, tmp_path):
        path = "datasets_fullband/read_speech/book_00000_chp_0009_reader_06709_0_seg_1.wav"
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(audio(".wav", path))
        (item,) = CORPORA["dns"].walk(tmp_path)
        assert (item.path, item.label) == (path, "reader_06709")

    def test_microphones_are_numbered(self, tmp_path):
        channels = [item.channel for item in CORPORA["vctk"].walk(replica("vctk", tmp_path))]
        assert Counter(channels) == {1: 6, 2: 6}
        channels = [item.channel for item in CORPORA["demand"].walk(replica("demand", tmp_path))]
        assert Counter(channels) == {1: 4, 16: 1}

    def test_the_rows_of_a_manifest_come_whole(self, tmp_path):
        replica("manifest", tmp_path)
        found = {item.path: item for item in CORPORA["manifest"].walk(tmp_path)}
        first = found["speech/a.flac"]
        assert (first.source, first.note) == ("here", "loud")

    def test_a_damaged_manifest_is_no_empty_one(self, tmp_path):
        (tmp_path / "manifest.csv").write_text("file\na.wav\n")
        with pytest.raises(RasedError, match="no column 'path'"):
            list(CORPORA["manifest"].walk(tmp_path))


class TestTestSets:
    def test_voicebank_demand_is_for_testing_alone(self, tmp_path):
        root = replica("voicebank-demand", tmp_path)
        pairs = list(CORPORA["voicebank-demand"].pairs(root))
        assert [pair.id for pair in pairs] == ["p232_001", "p257_434"]
        assert [pair.facts["snr_db"] for pair in pairs] == [2.5, 17.5]
        assert [pair.facts["noise_type"] for pair in pairs] == ["psquare", "bus"]
        assert all(pair.target.is_file() and pair.noisy.is_file() for pair in pairs)
        used = {item.label for item in CORPORA["voicebank-demand"].walk(root)}
        assert used.isdisjoint(VOICEBANK_TEST_SPEAKERS)

    def test_voicebank_demand_has_the_list_of_the_field(self):
        ids = CORPORA["voicebank-demand"].test_ids
        assert len(ids) == len(set(ids)) == 824
        assert Counter(name[:4] for name in ids) == {"p232": 393, "p257": 431}
        assert (ids[0], ids[-1]) == ("p232_001", "p257_434")
        assert {"p232_004", "p232_408", "p257_005"}.isdisjoint(ids)

    def test_no_other_corpus_trains_on_its_speakers_or_noise(self):
        assert {split_of(speaker) for speaker in VOICEBANK_TEST_SPEAKERS} == {"test"}
        assert set(TEST_PLACES) == {"DLIVING", "OOFFICE", "SCAFE", "SPSQUARE", "TBUS"}

    @pytest.mark.parametrize(
        ("name", "facts"),
        [
            ("ears-wham", {"id": "p102_00007", "snr_db": -2.5, "condition": "noise"}),
            ("ears-reverb", {"id": "p103_00001", "t60": 0.53, "condition": "reverb"}),
            ("whamr", {"id": "050a0501_1.7_442o030z_-1.7", "speaker": "050"}),
            ("reverb", {"id": "near_c30c0201", "snr_db": 20.0, "speaker": "c30"}),
        ],
    )
    def test_pairs(self, name, facts, tmp_path):
        pairs = list(CORPORA[name].pairs(replica(name, tmp_path)))
        assert len(pairs) == (2 if name == "reverb" else 1)
        assert facts.items() <= {"id": pairs[0].id, **pairs[0].facts}.items()
        assert all(pair.target.is_file() and pair.noisy.is_file() for pair in pairs)


class TestSplitBy:
    def test_shares(self):
        count = Counter(split_by(f"speaker {number}", valid=0.1) for number in range(4000))
        assert count["test"] == pytest.approx(200, abs=45)
        assert count["valid"] == pytest.approx(400, abs=60)

    def test_rooms_of_the_reverb_challenge_are_the_same_in_slr28_and_dns(self, tmp_path):
        rooms = [
            f"{size}Room{number}"
            for size in ("Small", "Medium", "Large", "Sim")
            for number in (1, 2)
        ]
        for room in (*rooms, "SimRoom3"):
            for path in (
                f"reverb/RIR/RIR_{room}_far_AnglA.wav",
                f"slr28/RIRS_NOISES/real_rirs_isotropic_noises/RVB2014_type1_rir_{room.lower()}_far_angla.wav",
                f"dns/impulse_responses/SLR28/RIRS_NOISES/real_rirs_isotropic_noises/"
                f"RVB2014_type1_rir_{room.lower()}_far_angla.wav",
            ):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_bytes(b"")
        found = [
            {item.label: item.split for item in CORPORA[name].walk(tmp_path / name)}
            for name in ("reverb", "slr28", "dns")
        ]
        assert found[0] == found[1] == found[2]
        assert found[0]["SimRoom3"] == "test"
        assert found[0]["LargeRoom2"] == "valid"

    def test_recordings_of_musan_have_one_split_in_slr28(self, tmp_path):
        for number in range(40):
            for folder in ("musan/noise/free-sound", "RIRS_NOISES/pointsource_noises"):
                file = tmp_path / folder / f"noise-free-sound-{number:04d}.wav"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"")
        splits = [
            {item.path.rpartition("/")[2]: item.split for item in CORPORA[name].walk(tmp_path)}
            for name in ("musan", "slr28")
        ]
        assert splits[0] == splits[1]
        assert set(splits[0].values()) == {"train", "valid", "test"}


def test_licences_by_address():
    assert creative_commons("https://creativecommons.org/licenses/sampling+/1.0/") == (
        "CC-SAMPLING+-1.0"
    )
    assert creative_commons("") == "unknown"


def test_unknown_names_get_the_nearest():
    with pytest.raises(RasedError, match="did you mean 'librispeech'"):
        find("libri-speech")
    with pytest.raises(RasedError, match="did you mean 'commons'"):
        find("comons")
