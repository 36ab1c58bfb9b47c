"""Every error Headrace raises on purpose.

HeadraceError
├── ConfigurationError      the file, the environment or a specification is wrong
│   └── SpecificationError  an estimator expression names something that does not exist or fit
├── RefusedError            correct input that must not be carried out now (exit 3)
│   ├── LeaseHeldError      another process writes this lineage
│   ├── LeaseLostError      this process no longer writes this lineage
│   ├── ChallengerUnfitError  a challenger that refuses too many events, and would again
│   ├── SpecificationChangedError
│   ├── EnvironmentChangedError
│   └── PositionError       the stream no longer, or not yet, holds the position
│       ├── BelowStartError
│       └── PastEndError
├── IdempotencyKeyError     an idempotency key that was used for another request
├── NotFoundError           a model, version, topic or dead letter that does not exist
├── ArtifactError           stored bytes that cannot be trusted or read
│   ├── UnsignedError
│   ├── TamperedError
│   └── OtherReleaseError   intact, but in a format unknown to this release; also a RefusedError (exit 3)
│       └── ForbiddenClassError
├── TrainingDataError       history that cannot be trained on as requested
│   └── DataLeakError       the same content or group in two parts that must not share any
├── RecordTooLargeError     a record that the stream does not accept
├── UnavailableError        a broker or database that cannot be reached now; worth a retry
└── EstimatorError          a model that raises, or predicts what is not finite
"""


class HeadraceError(Exception):
    """The root of the tree; its message says what was found, what was expected, what helps."""


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
    """A challenger refuses more events than it may, and would do so again."""


class LeaseHeldError(RefusedError):
    """Another process writes this lineage."""


class LeaseLostError(RefusedError):
    """This process no longer writes this lineage."""


class SpecificationChangedError(RefusedError):
    """The file's specification differs from the registered one."""


class EnvironmentChangedError(RefusedError):
    """The state was pickled with another release of river than is installed."""


class PositionError(RefusedError):
    """The stream does not hold the position at which to continue."""


class BelowStartError(PositionError):
    """Retention has deleted the records that come next."""


class PastEndError(PositionError):
    """The log ends before the position: it was truncated or is another one."""


class IdempotencyKeyError(HeadraceError):
    """The idempotency key was used for another request."""


class NotFoundError(HeadraceError):
    """The named thing does not exist."""


class ArtifactError(HeadraceError):
    """The stored bytes cannot be trusted or read."""


class UnsignedError(ArtifactError):
    """No signature covers the artifact."""


class TamperedError(ArtifactError):
    """The digest or the signature does not match the bytes."""


class OtherReleaseError(ArtifactError, RefusedError):
    """The bytes are intact, but in a format that this release does not know; another release wrote them.

    Nothing may be discarded because of it, since that release can still open them.
    """


class ForbiddenClassError(OtherReleaseError):
    """The artifact names a class that is not on the allow-list."""


class TrainingDataError(HeadraceError):
    """The history cannot be trained on as requested: it is empty, too short, or cannot be split that way."""


class DataLeakError(TrainingDataError):
    """Parts that must be disjoint share an id, a content or a group."""


class RecordTooLargeError(HeadraceError):
    """The stream accepts no record of this size, now or later."""


class UnavailableError(HeadraceError):
    """A broker or database cannot be reached now."""


class EstimatorError(HeadraceError):
    """The estimator raised, or predicted what is not finite."""
