"""The stages between an order and a batch, each a generator function: what is drawn, read and put together."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from jaxtyping import Float
from torch.utils.data import get_worker_info

from rased.data import order
from rased.data.cache import runs
from rased.data.distortions import Distortion, Distortions
from rased.data.order import Span
from rased.data.remote import BlockCache, RemoteError
from rased.data.sample import Batch, Place, Stored
from rased.data.shards import Corpus, Role, ShardError
from rased.errors import RasedError
from rased.signal import room

Samples = Float[np.ndarray, " samples"]
Shuffle = Literal["auto", "samples", "blocks"]
_STREAMS: dict[Role, int] = {"speech": 0, "noise": 1, "rir": 2}
"""Of the generators that orders are drawn from."""
SHAPING_TAPS = 64
"""Samples in the response of a shaping filter; its slowest pole, .83, is 100 dB down there."""

ROOMS_MB = 64.0
"""Megabytes of decoded rooms that a process keeps, where nothing else is said."""


SHORTEST = 0.01
"""Seconds of a segment or a room."""


@dataclass(frozen=True)
class Scene:
    """How mixtures are drawn; ranges are uniform, both ends included.

    Attributes:
        segment: seconds in a mixture.
        snr_db: range of the speech-to-noise ratio on the active level of the speech.
        level_dbfs: range of the level of the mixture.
        reverb_probability: share of mixtures in a room (where there are any).
        noise_probability: share of mixtures with noise.
        noises: probabilities of one, two, ... noises at once, where there is noise; they add up to 1.
        noise_level_db: range of the level of each further noise over that of the first.
        pause: range of the seconds between utterances, where several of one speaker fill a segment.
        rir_seconds: longest impulse response that is used; longer ones are faded out before it.
        shaping_probability: share of mixtures whose speech and whose noise go through random filters of second order
        before they are mixed, (1 + a z^-1 + b z^-2) / (1 + c z^-1 + d z^-2) with all four uniform in [-3/8, 3/8]: other
        voices, microphones and noises than there are recordings of (Valin, "A hybrid DSP/deep learning approach
        to real-time full-band speech enhancement", MMSP 2018).
        distortions: what happens to the mixture behind the microphone, and how often.
    """

    segment: float = 4.0
    snr_db: tuple[float, float] = (-5.0, 15.0)
    level_dbfs: tuple[float, float] = (-38.0, -16.0)
    reverb_probability: float = 0.5
    noise_probability: float = 1.0
    noises: tuple[float, ...] = (1.0,)
    noise_level_db: tuple[float, float] = (-10.0, 0.0)
    pause: tuple[float, float] = (0.1, 0.5)
    rir_seconds: float = 1.0
    shaping_probability: float = 0.0
    distortions: Distortions = Distortions()  # noqa: RUF009 - a frozen value

    def __post_init__(self) -> None:
        """Check once, where the value is made."""
        for name in ("snr_db", "level_dbfs", "pause", "noise_level_db"):
            low, high = getattr(self, name)
            if not (low <= high and math.isfinite(low) and math.isfinite(high)):
                raise RasedError(
                    f"{name} is [{low}, {high}]; the lower end comes first, both are finite."
                )
        if self.pause[0] < 0:
            raise RasedError(f"pause is {list(self.pause)}; a pause takes 0 s or more.")
        for name in ("reverb_probability", "noise_probability", "shaping_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise RasedError(f"{name} is {getattr(self, name)}; a share lies between 0 and 1.")
        if not self.noises or min(self.noises) < 0 or abs(sum(self.noises) - 1) > 1e-6:
            raise RasedError(
                f"noises is {list(self.noises)}; give the probabilities of one, two, ... noises, which "
                "add up to 1, as [0.7, 0.2, 0.1]."
            )
        for name in ("segment", "rir_seconds"):
            if not SHORTEST <= getattr(self, name) < math.inf:
                raise RasedError(f"{name} is {getattr(self, name)}; it takes {SHORTEST} s or more.")


@dataclass(frozen=True)
class Piece:
    """Samples [start, start + frames) of a recording, placed at `at` in the segment."""

    recording: int
    start: int
    frames: int
    at: int


@dataclass(frozen=True)
class Drawn:
    """All that chance decides about one mixture: a pure function of (seed, epoch, index); nothing is read yet.

    `noise_db` is the level of each noise over that of the first; `shaping` holds the coefficients
    for the speech and the noise, or nothing.
    """

    index: int
    speech: tuple[Piece, ...]
    noise: tuple[Piece, ...]
    noise_db: tuple[float, ...]
    rir: int | None
    snr_db: float
    level_dbfs: float
    shaping: tuple[tuple[float, float, float, float], ...]
    distortions: tuple[Distortion, ...]


class Turns:
    """The orders of a corpus, turn after turn; the last two are kept."""

    def __init__(self, order: Callable[[int, int], np.ndarray], length: int) -> None:
        """Name an order, a function of (epoch, turn), and its length."""
        self.order, self.length = order, length
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

    def __call__(self, epoch: int, index: int) -> int:
        """What comes at a place that counts through all turns of an epoch."""
        turn, place = divmod(index, self.length)
        found = self._kept.get((epoch, turn))
        if found is None:
            found = self._kept[epoch, turn] = self.order(epoch, turn)
            if len(self._kept) > 2:
                self._kept.popitem(last=False)
        return int(found[place])


class Nearby:
    """Recordings drawn from a neighbourhood of blocks that moves on with the index and over all of a corpus.

    It moves by a recording in `uses` samples: enough that all of the corpus is read at most once
    while all speech is, and that no more bytes are read than a segment of each sample needs.
    """

    def __init__(self, corpus: Corpus, *, seed: int, window: int, uses: int) -> None:
        blocks = corpus.blocks()
        self.length, self.uses = uses * len(corpus), uses
        self.reach = min(self.length, -(-self.length * window // (int(blocks.max()) + 1)))
        self._order = Turns(
            partial(
                order.blockwise, seed, blocks=np.repeat(blocks, uses), stream=_STREAMS[corpus.role]
            ),
            self.length,
        )

    def __call__(self, epoch: int, index: int, random: np.random.Generator) -> int:
        """Draw a recording near a sample."""
        return self._order(epoch, index + int(random.integers(self.reach))) // self.uses


class Plan:
    """The sources of a stream and how it is drawn from them.

    The order of a plain shuffle is any. With a shuffle by blocks, runs of recordings that lie side by
    side in a shard come at about the same time, `window` of them together: bytes are read
    sequentially and once an epoch, which streaming from elsewhere needs. The price: the order is less random
    (shards in which neighbours are alike want more `window`), a noise or a room comes again within
    its neighbourhood of `window` blocks rather than anywhere in the epoch, and a segment is filled
    up with utterances of the same speaker from the same block.

    Attributes:
        speech, noise, rir: what to draw from; rir is None where there are no rooms.
        scene: how to draw.
        seed: of everything.
        count: samples in an epoch; every utterance comes once before any comes again.
    """

    def __init__(
        self,
        *,
        speech: Corpus,
        noise: Corpus,
        rir: Corpus | None,
        scene: Scene,
        seed: int,
        count: int | None = None,
        shuffle: Shuffle = "auto",
        window: int = 32,
        rooms_mb: float = ROOMS_MB,
    ) -> None:
        """Join the sources.

        Args:
            speech: utterances.
            noise: recordings of noise.
            rir: impulse responses, None for no rooms.
            scene: how to draw.
            seed: of everything.
            count: samples in an epoch; None for one of each utterance.
            shuffle: by `samples` or by `blocks`; `auto`: by blocks in corpora that lie elsewhere.
            window: blocks of a corpus that are in use together; the cache must hold some more of each.
            rooms_mb: megabytes of decoded impulse responses that each process keeps.

        Raises:
            RasedError: several sample rates, a seed that names no generator, a window without a block, or
                one that the cache cannot hold.
        """
        if not 0 <= seed < order.SEEDS:
            raise RasedError(f"The seed is {seed}; it lies between 0 and {order.SEEDS - 1}.")
        if window < 1:
            raise RasedError(f"window is {window}; at least one block is in use.")
        self.speech, self.noise, self.rir = speech, noise, rir
        self.scene, self.seed = scene, seed
        self.count = len(speech) if count is None else count
        rates = {corpus.sample_rate for corpus in self.corpora}
        if len(rates) != 1:
            raise RasedError(
                f"Speech, noise and rooms have several sample rates ({sorted(rates)} Hz): pack them with one."
            )
        self.sample_rate = rates.pop()
        scene.distortions.check(self.sample_rate)
        self.frames = round(scene.segment * self.sample_rate)
        self.taps = round(scene.rir_seconds * self.sample_rate)
        _, self._group = np.unique(speech.label.encoded, return_inverse=True)
        in_order: Callable[[int, int], np.ndarray] = partial(
            order.permutation, seed, count=len(speech)
        )
        if shuffle == "blocks" or (shuffle == "auto" and speech.remote):
            blocks = speech.blocks()
            group = self._group * (int(blocks.max()) + 1) + blocks
            _, self._group = np.unique(group, return_inverse=True)
            in_order = partial(order.blockwise, seed, blocks=blocks, window=window)
        if shuffle != "samples":
            elsewhere = [corpus for corpus in self.corpora if corpus.remote]
            BlockCache().hold(sum(corpus.in_use(window) for corpus in elsewhere))
        self._utterance = Turns(in_order, len(speech))
        self.rooms = None if rir is None else Rooms(rir, self.taps, limit=round(rooms_mb * 1e6))
        by_group = np.argsort(self._group, kind="stable")
        _, starts = np.unique(self._group[by_group], return_index=True)
        self._fillers = np.split(by_group, starts[1:])
        self._nearby = {
            corpus.role: Nearby(
                corpus,
                seed=seed,
                window=window,
                uses=max(
                    -(-len(speech) // len(corpus)),
                    round(corpus.seconds / len(corpus) / scene.segment),
                ),
            )
            for corpus in (noise, rir)
            if corpus is not None and (shuffle == "blocks" or (shuffle == "auto" and corpus.remote))
        }

    @property
    def corpora(self) -> tuple[Corpus, ...]:
        """All that is drawn from."""
        return tuple(c for c in (self.speech, self.noise, self.rir) if c is not None)

    def draw(self, epoch: int, index: int) -> Drawn:
        """Draw mixture `index` of an epoch."""
        random = order.generator(self.seed, epoch, index)
        scene = self.scene
        speech = self._speech(self._utterance(epoch, index), random)
        in_room = self.rir is not None and random.random() < scene.reverb_probability
        noisy = random.random() < scene.noise_probability
        noises = [(self._noise(epoch, index, random), 0.0)]
        if scene.noises[0] < 1:
            noises += self._further(epoch, index)
        distortions: tuple[Distortion, ...] = ()
        if scene.distortions.any:
            distortions = scene.distortions.draw(order.generator(self.seed, epoch, index, 2))
        shaping: tuple[tuple[float, float, float, float], ...] = ()
        if scene.shaping_probability:
            filters = order.generator(self.seed, epoch, index, 3)
            if filters.random() < scene.shaping_probability:
                shaping = tuple(
                    tuple(map(float, filters.uniform(-0.375, 0.375, 4))) for _ in range(2)
                )
        return Drawn(
            index=index,
            speech=speech,
            noise=tuple(piece for piece, _ in noises if noisy),
            noise_db=tuple(level for _, level in noises if noisy),
            rir=self._any(self.rir, epoch, index, random) if self.rir and in_room else None,
            snr_db=float(random.uniform(*scene.snr_db)) if noisy else float("inf"),
            level_dbfs=float(random.uniform(*scene.level_dbfs)),
            shaping=shaping,
            distortions=distortions,
        )

    def _any(self, corpus: Corpus, epoch: int, index: int, random: np.random.Generator) -> int:
        """Draw a recording: near the sample, or anywhere."""
        nearby = self._nearby.get(corpus.role)
        return nearby(epoch, index, random) if nearby else int(random.integers(len(corpus)))

    def _noise(self, epoch: int, index: int, random: np.random.Generator) -> Piece:
        recording = self._any(self.noise, epoch, index, random)
        length = int(self.noise.frames[recording])
        start = int(random.integers(length if length < self.frames else length - self.frames + 1))
        return Piece(recording, start, self.frames, 0)

    def _further(self, epoch: int, index: int) -> list[tuple[Piece, float]]:
        """The noises behind the first and their levels."""
        random = order.generator(self.seed, epoch, index, 1)
        count = int(np.searchsorted(np.cumsum(self.scene.noises[:-1]), random.random(), "right"))
        return [
            (self._noise(epoch, index, random), float(random.uniform(*self.scene.noise_level_db)))
            for _ in range(count)
        ]

    def _speech(self, utterance: int, random: np.random.Generator) -> tuple[Piece, ...]:
        """A crop of the utterance, or the whole of it and more of the same speaker behind pauses."""
        pieces: list[Piece] = []
        fillers = self._fillers[self._group[utterance]]
        at = 0
        while at < self.frames:
            length, left = int(self.speech.frames[utterance]), self.frames - at
            start = int(random.integers(length - left + 1)) if length > left and not pieces else 0
            pieces.append(Piece(utterance, start, min(length, left), at))
            at += length + round(random.uniform(*self.scene.pause) * self.sample_rate)
            utterance = int(fillers[random.integers(len(fillers))])
        return tuple(pieces)


class Sources(TypedDict):
    """The sources of a batch of mixtures, a row each; `bad` tells why one could not be read, "" for the others."""

    drawn: list[Drawn]
    clean: Float[np.ndarray, "batch time"]
    noise: Float[np.ndarray, "batch time"]
    rir: Float[np.ndarray, "batch taps"]
    direct_path: list[int]
    bad: list[str]
    rooms_bytes: int
    device: "OnDevice"


class Rooms:
    """Impulse responses, decoded once, cut to a length; at most `limit` bytes are kept, in each process its own."""

    def __init__(self, rir: Corpus, taps: int, *, limit: int) -> None:
        self.rir, self.taps, self.limit = rir, taps, limit
        self._kept: OrderedDict[int, tuple[Samples, int]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """What is kept stays behind."""
        return self.__dict__ | {"_kept": OrderedDict()}

    @property
    def bytes(self) -> int:
        """What is kept now."""
        return len(self._kept) * self.taps * np.dtype(np.float32).itemsize

    def __getitem__(self, number: int) -> tuple[Samples, int]:
        """Response (taps,), zero-padded or faded out over its last 50 ms, and its direct path."""
        found = self._kept.pop(number, None)
        if found is None:
            stored = self.rir.read(number)
            response = np.zeros(self.taps, np.float32)
            response[: len(stored)] = stored[: self.taps]
            if len(stored) > self.taps:
                fade = min(self.taps, self.rir.sample_rate // 20)
                response[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
            while self._kept and (len(self._kept) + 1) * response.nbytes > self.limit:
                self._kept.popitem(last=False)
            direct = room.direct_path(torch.from_numpy(response), sample_rate=self.rir.sample_rate)
            found = (response, int(direct))
        self._kept[number] = found
        return found


def spans(
    *, position: int, count: int, batch_size: int, rank: int, world_size: int
) -> Iterator[Span]:
    """The batches of this rank and of the DataLoader worker that this runs in, in order."""
    info = get_worker_info()
    worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
    yield from order.batches(
        position,
        count,
        batch_size=batch_size,
        world_size=world_size,
        rank=rank,
        worker=worker,
        workers=workers,
    )


def draw(batches: Iterable[Span], *, plan: Plan, epoch: int) -> Iterator[list[Drawn]]:
    """Decide everything about the mixtures of each batch."""
    for span in batches:
        yield [plan.draw(epoch, index) for index in range(span.start, span.stop)]


def fetch(batches: Iterable[list[Drawn]], *, plan: Plan) -> Iterator[Sources]:
    """Read and decode just what was drawn. What cannot be read becomes a reason, never another sample."""
    for batch in batches:
        clean, noise = (np.empty((len(batch), plan.frames), np.float32) for _ in range(2))
        rir = np.empty((len(batch), plan.taps), np.float32)
        direct_path, bad = [0] * len(batch), [""] * len(batch)
        device = OnDevice(plan)
        for row, drawn in enumerate(batch):
            try:
                _speak(drawn.speech, plan.speech, clean[row], row, device)
                _make_noise(drawn, plan.noise, noise[row], row, device)
                if drawn.rir is None or plan.rooms is None:
                    rir[row], rir[row, 0] = 0.0, 1.0
                else:
                    rir[row], direct_path[row] = plan.rooms[drawn.rir]
            except (RemoteError, ShardError):
                raise
            except RasedError as error:
                bad[row] = str(error)
        yield Sources(
            drawn=batch,
            clean=clean,
            noise=noise,
            rir=rir,
            direct_path=direct_path,
            bad=bad,
            rooms_bytes=plan.rooms.bytes if plan.rooms else 0,
            device=device,
        )


def collate(batches: Iterable[Sources], *, plan: Plan) -> Iterator[Batch]:
    """Make batches of the good samples, of no row where there is none, and carry the reasons of the bad ones along."""
    for sources in batches:
        good = [row for row, reason in enumerate(sources["bad"]) if not reason]
        if len(good) < len(sources["bad"]):
            for part in ("clean", "noise", "rir"):
                sources[part] = sources[part][good]
        drawn = [sources["drawn"][row] for row in good]
        taps = SHAPING_TAPS if plan.scene.shaping_probability else 0
        shaping = np.empty((len(good), 2, taps), np.float32)
        for row, of in enumerate(drawn):
            shaping[row] = _filters(of.shaping, plan.scene)
        batch = Batch(
            clean=torch.from_numpy(sources["clean"]),
            noise=torch.from_numpy(sources["noise"]),
            rir=torch.from_numpy(sources["rir"]),
            direct_path=torch.tensor(
                [sources["direct_path"][row] for row in good], dtype=torch.int64
            ),
            snr_db=torch.tensor([d.snr_db for d in drawn]),
            level_dbfs=torch.tensor([d.level_dbfs for d in drawn]),
            index=torch.tensor([d.index for d in drawn], dtype=torch.int64),
            key=["+".join(str(plan.speech.key[p.recording]) for p in d.speech) for d in drawn],
            noise_key=["+".join(str(plan.noise.key[p.recording]) for p in d.noise) for d in drawn],
            rir_key=[
                "" if d.rir is None or plan.rir is None else str(plan.rir.key[d.rir]) for d in drawn
            ],
            shaping=torch.from_numpy(shaping),
            distortions=[d.distortions for d in drawn],
            skipped=[reason for reason in sources["bad"] if reason],
            rooms_bytes=sources["rooms_bytes"],
        )
        if sources["device"].used:
            sources["device"].hand_over(batch, good)
        yield batch


class OnDevice:
    """What of a batch is taken from the device, and what it brings there; see `rased.data.cache`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.used = any(corpus.kept and corpus.kept.device for corpus in plan.corpora)
        self._found: list[Place] = []
        self._fresh: dict[tuple[Literal["speech", "noise"], int], np.ndarray] = {}
        self._streamed: set[str] = set()

    def read(self, corpus: Corpus, piece: Piece, out: Samples, row: int) -> None:
        """Write a crop as `stream` does, or note that it lies on the device.

        Raises:
            RasedError: it cannot be read.
        """
        number, kept, role = piece.recording, corpus.kept, corpus.role
        if kept is not None and kept.device and role != "rir":
            if kept.has(number):
                self._found.append(Place(role, row, piece.at, number, piece.start, piece.frames))
                out[:] = 0
                return
            if kept.takes(number) and (role, number) not in self._fresh:
                whole = corpus.whole(number)
                samples = None if whole is None else kept.exact(number, whole)
                if samples is not None:
                    self._fresh[role, number] = samples
        self.stream(corpus, piece, out)

    def stream(self, corpus: Corpus, piece: Piece, out: Samples) -> None:
        """Write a crop that goes round where its recording is shorter."""
        self._streamed.add(corpus.role)
        length = int(corpus.frames[piece.recording])
        if piece.start + piece.frames <= length:
            corpus.read(piece.recording, piece.start, piece.frames, out=out)
            return
        whole = corpus.read(piece.recording)
        for at, start, frames in runs(piece.start, piece.frames, length):
            out[at : at + frames] = whole[start : start + frames]

    def hand_over(self, batch: Batch, rows: list[int]) -> None:
        """Add it to the batch, whose rows these are."""
        place = {row: at for at, row in enumerate(rows)}
        batch["stored"] = Stored(
            split=self.plan.speech.split,
            found=[p._replace(row=place[p.row]) for p in self._found if p.row in place],
            fresh=list(self._fresh),
            samples=torch.from_numpy(
                np.concatenate([np.empty(0, np.int16), *self._fresh.values()])
            ),
            frames=self.plan.frames,
        )
        if "speech" not in self._streamed:
            batch["clean"] = batch["clean"][:, :0].clone()
        if "noise" not in self._streamed:
            batch["noise"] = batch["noise"][:, :0].clone()


def _speak(
    pieces: tuple[Piece, ...], corpus: Corpus, out: Samples, row: int, device: OnDevice
) -> None:
    """Write the pieces of a segment of speech, with silence around them."""
    if pieces[0].frames < len(out):
        out[:] = 0
    for piece in pieces:
        device.read(corpus, piece, out[piece.at : piece.at + piece.frames], row)


def _make_noise(drawn: Drawn, corpus: Corpus, out: Samples, row: int, device: OnDevice) -> None:
    """Write the noise: the first one, and others at their levels over it.

    Silent ones add nothing, behind a silent one neither. Several are summed where they are read, none
    of them on the device.
    """
    if not drawn.noise:
        out[:] = 0
        return
    if len(drawn.noise) == 1:
        device.read(corpus, drawn.noise[0], out, row)
        return
    device.stream(corpus, drawn.noise[0], out)
    wanted = float(np.square(out).mean()) ** 0.5
    noise = np.empty_like(out)
    for piece, level_db in zip(drawn.noise[1:], drawn.noise_db[1:], strict=True):
        device.stream(corpus, piece, noise)
        level = float(np.square(noise).mean()) ** 0.5
        if level > 0:
            out += noise * np.float32(wanted / level * 10 ** (level_db / 20))


def _filters(
    shaping: tuple[tuple[float, float, float, float], ...], scene: Scene
) -> Float[np.ndarray, "2 taps"]:
    """Responses of the filters: impulses where a mixture has none, nothing where the scene has none."""
    if not scene.shaping_probability:
        return np.zeros((2, 0), np.float32)
    impulse = np.zeros(SHAPING_TAPS)
    impulse[0] = 1.0
    if not shaping:
        return np.stack([impulse] * 2).astype(np.float32)
    import scipy.signal  # 64 MB that only shaping needs

    responses = [scipy.signal.lfilter((1.0, a, b), (1.0, c, d), impulse) for a, b, c, d in shaping]
    return np.stack(responses).astype(np.float32)
