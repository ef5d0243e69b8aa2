"""What a page opens with: one utterance before and after."""

from rased.evaluation import write_page
from rased.evaluation.report.site.opening import opening


def test_the_page_opens_with_the_utterance_that_gains_most(tiny, scored, tmp_path):
    """Its audio is beside the page, and stands before the table."""
    page = write_page(
        tiny, tmp_path, audio_folder=scored / "audio", trained=("log-mmse", "Nothing was trained.")
    )
    text = page.read_text()
    assert text.index("Before and after") < text.index("<table")
    assert "Nothing was trained." in text
    for name in ("noisy", "log-mmse", "target"):
        assert f'src="opening/{name}.wav"' in text
        assert (tmp_path / "opening" / f"{name}.wav").stat().st_size > 1000
    noisy, own = (next(row for row in tiny if row.name == name) for name in ("noisy", "log-mmse"))
    shown = opening(tiny, "log-mmse", "", source=scored / "audio", folder=tmp_path)
    metric = next(one for one in ("dnsmos-ovrl", "pesq-wb", "si-sdr", "stoi") if own.values(one))
    gains = {one: own.values(metric)[one] - value for one, value in noisy.values(metric).items()}
    assert gains[shown.utterance] == max(gains.values())


def test_without_audio_or_the_system_there_is_no_opening(tiny, scored, tmp_path):
    assert opening(tiny, "nobody", "", source=scored / "audio", folder=tmp_path) is None
    assert opening(tiny, "log-mmse", "", source=tmp_path, folder=tmp_path) is None
