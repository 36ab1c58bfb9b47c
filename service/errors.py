"""Every error Headrace raises on purpose.

HeadraceError
├── ConfigurationError      the file, the environment or a specification is wrong
│   └── SpecificationError  an estimator expression names something that does not exist or fit
├── RefusedError            correct input that must not be carried out now (exit 3)
│   ├── LeaseHeldError      another process writes this lineage
│   ├── LeaseLostError      this process no longer writes this lineage
│   ├── UnfitError           a challenger that would be no better another time
│   ├── SpecificationChangedError
│   ├── EnvironmentChangedError
│   └── PositionError       the stream no longer, or not yet, holds the position
│       ├── BelowStartError
│       └── PastEndError
├── ConflictingKeyError     an idempotency key that was used for another request
├── NotFoundError           a model, version, topic or dead letter that does not exist
├── ArtifactError           stored bytes that cannot be trusted or read
│   ├── UnsignedError
│   ├── TamperedError
│   └── OtherReleaseError   whole, but of a form that this release does not know; refused, too (exit 3)
│       └── ForbiddenClassError
├── TrainingDataError       history that cannot be trained on as it was asked for
│   └── LeakError           the same content or group in two parts that must not share any
├── RecordTooLargeError     a record that the stream does not take
├── UnavailableError        a broker or database that cannot be reached now; worth a retry
└── EstimatorError          a model that throws or predicts what is not finite
"""


class HeadraceError(Exception):
    """Root of the tree; its message says what was found, what was expected, what helps."""


class ConfigurationError(HeadraceError):
    """The file, the environment or a specification is wrong."""


class SpecificationError(ConfigurationError):
    """An estimator expression that cannot be built; `path` is its place in the file."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class RefusedError(HeadraceError):
    """Correct input that must not be carried out in the present state."""


class ChallengerUnfitError(RefusedError):
    """A challenger that refuses more than it may; it would be no better another time."""


class LeaseHeldError(RefusedError):
    """Another process writes this lineage."""


class LeaseLostError(RefusedError):
    """This process no longer writes this lineage."""


class SpecificationChangedError(RefusedError):
    """The file's specification differs from the registered one."""


class EnvironmentChangedError(RefusedError):
    """A state was pickled by another release of river than is installed."""


class PositionError(RefusedError):
    """The stream does not hold the position from which to go on."""


class BelowStartError(PositionError):
    """The log's retention has deleted what comes next."""


class PastEndError(PositionError):
    """The log ends before the position: it was truncated or is another one."""


class IdempotencyKeyError(HeadraceError):
    """An idempotency key that was used for another request."""


class NotFoundError(HeadraceError):
    """What was named does not exist."""


class ArtifactError(HeadraceError):
    """Stored bytes that cannot be trusted or read."""


class UnsignedError(ArtifactError):
    """No signature covers the artifact."""


class TamperedError(ArtifactError):
    """The digest or the signature does not fit the bytes."""


class OtherReleaseError(ArtifactError, RefusedError):
    """Bytes as they were sealed, of a form that this release does not know: another one wrote them.

    Nothing may be given up because of it: the release that wrote them opens them.
    """


class ForbiddenClassError(OtherReleaseError):
    """The artifact names something that the allow-list does not hold."""


class TrainingDataError(HeadraceError):
    """History that cannot be trained on as it was asked for: none, too little, or not to be divided so."""


class DataLeakError(TrainingDataError):
    """Parts that must have nothing in common share an id, a content or a group."""


class RecordTooLargeError(HeadraceError):
    """A record that the stream does not take, now or later."""


class UnavailableError(HeadraceError):
    """A broker or database cannot be reached now."""


class EstimatorError(HeadraceError):
    """An estimator threw, or predicted what is not finite."""
