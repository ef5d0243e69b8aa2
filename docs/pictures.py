"""Make the pictures of the README and of docs/: `python docs/pictures.py [NAME ...]`, without a name all of them.

They come from the bundled corpus, so that the command gives the same pictures again. The pages of
the leaderboard and of `rased app` need Chromium (`apt-get install chromium`).
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from cost_picture import quality_cost
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from torch import Tensor
from torch.nn import functional

import rased
from rased import audio
from rased.app import Server
from rased.cli import main
from rased.data import MixtureDataModule, Scene
from rased.evaluation.testset import BUNDLE
from rased.files import DEFAULT_MODEL
from rased.metrics import METRICS
from rased.signal.levels import rms
from rased.signal.stft import STFT

HERE = Path(__file__).parent
RATE = 16_000
SHOWN = "m0131"
"""Utterance of the bundled test set in the README: in a room, at a waterfall, at 5 dB."""
SCORED = ("m0129", "m0138", "m0153")
"""Utterances whose targets are degraded for the figure of metrics: three speakers, without a room."""

Sound = Float[Tensor, " time"]


def leaderboard() -> None:
    """The top of the page of the project's own results."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as browsers:
        main(["leaderboard", str(HERE.parent / "zoo" / "leaderboard"), "--html", place])
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(
            viewport={"width": 1280, "height": 760}, color_scheme="light", device_scale_factor=1
        )
        page.goto(f"file://{place}/index.html")
        page.wait_for_timeout(1500)  # figures are drawn after the page has loaded
        page.screenshot(path=HERE / "leaderboard.png")
        browser.close()


def app() -> None:
    """The page of `rased app` with an utterance of the bundled test set."""
    server = Server("127.0.0.1", 0)
    Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1000, "height": 760}, color_scheme="light")
        page.goto(server.url)
        page.select_option("#example", SHOWN)
        expect(page.locator(".mos > span")).to_have_count(12, timeout=120_000)
        page.evaluate("player.move(1.2)")
        # The speed of this machine is another one each time.
        page.locator(".state").evaluate_all(
            "states => states.forEach((one) => { one.textContent = ''; })"
        )
        page.screenshot(path=HERE / "app.png", full_page=True)
        browser.close()
    server.shutdown()
    server.close()
    _with_palette(HERE / "app.png", 256)


def enhanced() -> None:
    """An utterance of the bundled test set before and after `rased enhance`, and its target."""
    noisy, target = _bundled("noisy", SHOWN), _bundled("target", SHOWN)
    estimate = rased.load(DEFAULT_MODEL)(noisy[None])[0].detach()
    _save(
        "enhanced.png",
        {"noisy": noisy, f"enhanced ({DEFAULT_MODEL})": estimate, "target: early speech": target},
    )


def signal() -> None:
    """The parts of a mixture in a room: early speech, late reverberation, noise, and their sum."""
    scene = Scene(segment=3.0, snr_db=(5, 5), reverb_probability=1.0, t60=(0.5, 1.0))
    data = MixtureDataModule(scene=scene, batch_size=4, seed=3)
    data.setup("fit")
    mixture = next(data.mixtures("train"))
    names = {"early": "early speech", "late": "late reverberation", "noise": "noise n"}
    parts = {title: mixture[name][2] for name, title in names.items()}  # type: ignore[literal-required]
    _save("signal.png", {**parts, "mixture x": mixture["noisy"][2]})


def metrics() -> None:
    """What each metric says of clean speech that is degraded in one way."""
    columns = {name: _mean_scores(change) for name, change in CHANGES.items()}
    names = [name for name in METRICS if name in columns["clean"]]
    values = np.array([[column[name] for column in columns.values()] for name in names])
    good, bad = values[:, :1], values[:, [list(columns).index("noise\n0 dB")]]
    shares = np.clip((values - bad) / (good - bad), 0, 1)
    figure = Figure(figsize=(10.5, 0.3 * len(names) + 1.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, aspect="auto", cmap="RdYlGn", vmin=-0.15, vmax=1.15, alpha=0.75)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            axes.text(
                column, row, f"{round(value, 3) + 0.0:.3g}", ha="center", va="center", fontsize=8
            )
    better = {"higher": "↑", "lower": "↓"}
    axes.set_yticks(
        range(len(names)), [f"{name} {better[METRICS[name].direction]}" for name in names]
    )
    axes.set_xticks(range(len(columns)), list(columns), fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    figure.savefig(HERE / "metrics.png", dpi=110)


def _noisy(clean: Sound, snr_db: float) -> Sound:
    noise = torch.randn(len(clean), generator=torch.Generator().manual_seed(1))
    return clean + noise * (rms(clean) / rms(noise)) * 10 ** (-snr_db / 20)


def _in_a_room(clean: Sound) -> Sound:
    """Add a tail of noise that decays by 60 dB in 0.6 s, from 50 ms after the direct sound, as loud as the speech."""
    taps = torch.arange(int(0.6 * RATE))
    tail = torch.randn(len(taps), generator=torch.Generator().manual_seed(2)) * 10 ** (
        -3 * taps / len(taps)
    )
    tail[: RATE // 20] = 0
    padded = functional.pad(clean, (len(taps) - 1, 0))
    late = functional.conv1d(padded[None, None], tail.flip(0)[None, None])[0, 0]
    return clean + late * (rms(clean) / rms(late))


def _suppressed(clean: Sound) -> Sound:
    """Remove noise too eagerly: what is 15 dB below the mean of its band is silenced."""
    stft = STFT(n_fft=512, hop_length=128, win_length=512, window="hann")
    spectrum = stft.analysis(clean[None])
    level = spectrum.abs()
    kept = level > 10 ** (-15 / 20) * level.square().mean(-1, keepdim=True).sqrt()
    return stft.synthesis(spectrum * kept, len(clean))[0]


def _narrow(clean: Sound) -> Sound:
    spectrum = torch.fft.rfft(clean)
    spectrum[torch.fft.rfftfreq(len(clean), 1 / RATE) > 3400] = 0
    return torch.fft.irfft(spectrum, len(clean))


CHANGES: Mapping[str, Callable[[Sound], Sound]] = {
    "clean": lambda clean: clean.clone(),
    "noise\n20 dB": lambda clean: _noisy(clean, 20),
    "noise\n0 dB": lambda clean: _noisy(clean, 0),
    "late\nreverberation": _in_a_room,
    "speech\nremoved": _suppressed,
    "below\n3.4 kHz": _narrow,
    "clipped": lambda clean: clean.clamp(-2 * float(rms(clean)), 2 * float(rms(clean))),
    "half\nthe level": lambda clean: clean / 2,
    "10 ms\nlater": lambda clean: functional.pad(clean, (RATE // 100, 0))[: len(clean)],
}
"""Degradations of clean speech, by the titles of their columns."""


def _mean_scores(change: Callable[[Sound], Sound]) -> dict[str, float]:
    """Return the mean of every metric that has a value here, over the utterances of SCORED."""
    scores: dict[str, list[float]] = {}
    for name in SCORED:
        clean = _bundled("target", name)
        estimate = change(clean)
        for metric in METRICS.values():
            if metric.needs_text or metric.task == "recognition":
                continue  # PocketSphinx knows English alone
            score = metric(estimate=estimate, target=clean, sample_rate=RATE)
            if score.value is not None:
                scores.setdefault(metric.name, []).append(score.value)
    return {name: float(np.mean(found)) for name, found in scores.items()}


def _bundled(part: str, name: str) -> Sound:
    samples, _ = audio.read(BUNDLE / part / f"{name}.flac", sample_rate=RATE)
    return torch.from_numpy(samples[0])


def _save(name: str, sounds: Mapping[str, Sound]) -> None:
    """Save spectrograms side by side; levels are relative to the maximum of all."""
    stft = STFT(n_fft=512, hop_length=128, win_length=512, window="hann")
    powers = {
        title: stft.analysis(sound[None])[0].abs().square().numpy()
        for title, sound in sounds.items()
    }
    top = max(float(power.max()) for power in powers.values())
    figure = Figure(figsize=(12, 3.1), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(powers), sharey=True)
    for axes, (title, power) in zip(panels, powers.items(), strict=True):
        extent = (0.0, len(sounds[title]) / RATE, 0.0, RATE / 2000)
        level = 10 * np.log10(power / top + 1e-8)
        axes.imshow(
            level, origin="lower", aspect="auto", extent=extent, vmin=-65, vmax=0, cmap="magma"
        )
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("s")
    panels[0].set_ylabel("kHz")
    figure.savefig(HERE / name, dpi=100)
    _with_palette(HERE / name)


def _with_palette(path: Path, colours: int = 128) -> None:
    """Keep some colours of a picture: a third of its size."""
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)


PICTURES = {
    "leaderboard": leaderboard,
    "app": app,
    "enhanced": enhanced,
    "signal": signal,
    "metrics": metrics,
    "quality-cost": quality_cost,
}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or PICTURES:
        PICTURES[chosen]()
