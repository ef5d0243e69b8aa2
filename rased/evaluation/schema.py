"""The fields of a result file, as `rased.documents` checks them; `plausible` checks the values."""

from typing import Annotated, Any, Literal

import msgspec

from rased.documents import NOT_IN_A_LINE, Count, Hash, Line, Name, Number, SampleRate, Word

Kind = Literal["noisy", "target", "classical", "zoo", "run", "files"]
Samples = Annotated[int, msgspec.Meta(ge=-(2**40), le=2**40)]
"""A delay."""
Positive = Annotated[float, msgspec.Meta(ge=0, le=1e18)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
Said = Annotated[str, msgspec.Meta(max_length=300, pattern=rf"\A[^{NOT_IN_A_LINE}]*\Z")]
"""A short line of text by a submitter."""
Url = Annotated[str, msgspec.Meta(max_length=300, pattern=r"\Ahttps?://[!-~]+\Z")]
"""A web address."""


class StatedFacts(msgspec.Struct, forbid_unknown_fields=True):
    """What the submitter of enhanced files states; see `Result.system`."""

    parameters: Count | None = None
    macs_per_second: Positive | None = None
    algorithmic_latency_ms: Milliseconds | None = None
    buffering_ms: Milliseconds | None = None
    training_data: Said | None = None
    paper: Said | None = None
    url: Url | None = None


class SystemFacts(msgspec.Struct, forbid_unknown_fields=True):
    """See `Result.system`."""

    name: Name
    kind: Kind
    sha256: Hash
    sample_rate: SampleRate
    latency: Samples | None
    buffering: Samples | None
    look_ahead: Samples | None
    causal: bool | None
    checkpoint_sha256: Hash | None
    parameters: Count | None
    macs_per_second: Positive | None
    stated: StatedFacts | None = None
    imported: Line | None = None


class TestsetFacts(msgspec.Struct, forbid_unknown_fields=True):
    """See `Result.testset`."""

    name: Name
    count: Annotated[int, msgspec.Meta(ge=1, le=10**7)]
    sample_rate: SampleRate
    target: Word
    list_sha256: Hash


class TrainingFacts(msgspec.Struct, forbid_unknown_fields=True):
    """See `Result.training`."""

    manifest_sha256: Hash | None
    overlap: list[Line]
    checked: dict[Word, Literal["contents", "names"]]
    unchecked: list[Line]
    recipe_sha256: Hash | None
    seed: Word | None
    optimised: list[Word]
    config: dict[Word, Any]


class Declared(msgspec.Struct, forbid_unknown_fields=True):
    """Declaration of a metric in a protocol."""

    version: Word
    unit: Word
    direction: Literal["higher", "lower"]
    range: tuple[Number | None, Number | None]
    sample_rate: SampleRate | None
    reference: Word
    blind_to: list[Word]


class Protocol(msgspec.Struct, forbid_unknown_fields=True):
    """See `Result.protocol`."""

    sample_rate: SampleRate
    resampler: Word
    alignment: Word
    length: Word
    metrics: dict[Word, Declared]


class Cost(msgspec.Struct, forbid_unknown_fields=True):
    """See `Result.cost`."""

    real_time_factor: Positive | None
    batch_gain: Positive | None
    peak_memory_mb: Positive | None
    processor: Word | None


class Environment(msgspec.Struct):
    """See `Result.environment`; other fields are allowed."""

    processor: Word
    cores: Count | None


class ScoreFields(msgspec.Struct, forbid_unknown_fields=True):
    """One value of one metric."""

    value: Number | None
    status: Line


class Facts(msgspec.Struct, forbid_unknown_fields=True):
    """What the test set states about an utterance."""

    condition: Word | None = None
    snr_db: Number | None = None
    speaker: Word | None = None
    noise_type: Word | None = None
    room: Word | None = None
    t60: Number | None = None
    drr_db: Number | None = None


class UtteranceFields(msgspec.Struct, forbid_unknown_fields=True):
    """One utterance."""

    id: Name
    seconds: Seconds
    facts: Facts
    scores: dict[Word, ScoreFields]
    measured: dict[Word, Number | None]


class ResultFields(msgspec.Struct, forbid_unknown_fields=True):
    """All fields of a result file, except its hash."""

    schema: int
    system: SystemFacts
    testset: TestsetFacts
    training: TrainingFacts | None
    protocol: Protocol
    cost: Cost
    environment: Environment
    created: Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d\d-\d\dT[\d:.+Z-]{1,30}\Z")]
    utterances: list[UtteranceFields]
