"""The errors tellapart raises, one tree:

    TellapartError
    ├── UsageError            the question cannot be asked so (exit status 2)
    ├── DataError             something is wrong with the user's pictures or tables
    │   ├── ImageError        one file is no usable picture; it is counted, never fatal to the others
    │   └── DatasetError      the pile as a whole cannot be used
    ├── ModelError            a backbone, its weights or its runtime
    │   ├── WeightsError      a weights file is missing, changed, cut or of an unknown format
    │   ├── RuntimeUnavailable  the runtime that was asked for cannot run here
    │   └── ParityError       an exported file answers otherwise than what it was exported from
    ├── EngineError           the cluster that was to do the work, or a part of it
    ├── RunError              a run folder is missing, incomplete or holds something else
    └── MissingExtra          an optional part is not installed; names its pip command

Every message names what was wrong, what was expected, what came, and the next step.
"""

__all__ = [
    "DataError",
    "DatasetError",
    "EngineError",
    "ImageError",
    "MissingExtra",
    "ModelError",
    "ParityError",
    "RunError",
    "RuntimeUnavailable",
    "TellapartError",
    "UsageError",
    "WeightsError",
]


class TellapartError(Exception):
    """Anything that tellapart refuses to do, with the reason and the next step."""


class UsageError(TellapartError):
    """The arguments do not make sense together, or name something that does not exist."""


class DataError(TellapartError):
    """Something is wrong with the pictures or tables that were given."""


class ImageError(DataError):
    """One file cannot be used as a picture.

    `reason` is one short phrase, the same for the same fault, so that failures can be counted:

    >>> ImageError("cat.jpg", "truncated", "the file ends early; fetch it again").reason
    'truncated'
    """

    def __init__(self, name: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{name}: {reason}" + (f" ({detail})" if detail else ""))
        self.name = name
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str, str]]:
        return type(self), (self.name, self.reason, self.detail)


class DatasetError(DataError):
    """The pile of pictures as a whole cannot be used."""


class ModelError(TellapartError):
    """A backbone or its graph cannot be used."""


class WeightsError(ModelError):
    """A weights file is missing, changed, cut, or of a format that is not read."""


class RuntimeUnavailable(ModelError):
    """The runtime that was asked for cannot run on this machine."""


class ParityError(ModelError):
    """An exported file answers otherwise than what it was exported from.

    `picture` is where they part most, `step` the first step at which they do: decode, resize, network or
    calibration.
    """

    def __init__(self, message: str, picture: str, step: str) -> None:
        super().__init__(message)
        self.picture, self.step = picture, step

    def with_next_step(self, text: str) -> "ParityError":
        """The same with another next step, which is the last sentence of the message."""
        said = str(self).rpartition(". ")[0]
        return ParityError(f"{said}. {text}", self.picture, self.step)


class EngineError(TellapartError):
    """The cluster that was to do the work cannot be reached, or has given up on a part of it."""


class RunError(TellapartError):
    """A run folder is missing, incomplete, or holds another run."""


_EXTRAS = {
    "aiohttp": "train",
    "fastapi": "serve",
    "fsspec": "remote",
    "jinja2": "train",
    "yarl": "train",
    "matplotlib": "train",
    "multipart": "serve",
    "pandas": "train",
    "prometheus_client": "serve",
    "pyarrow": "remote",
    "pydantic": "serve",
    "python_multipart": "serve",
    "ray": "ray",
    "s3fs": "remote",
    "onnx": "train",
    "safetensors": "train",
    "sklearn": "train",
    "starlette": "serve",
    "threadpoolctl": "train",
    "usearch": "ray",
    "uvicorn": "serve",
    "timm": "finetune",
    "torch": "finetune",
    "torchvision": "finetune",
}


class MissingExtra(TellapartError, ImportError):
    """An optional part of tellapart is not installed.

    >>> print(MissingExtra("training", "train"))
    training needs the extra 'train'. Install it with: pip install "tellapart[train]"
    """

    @classmethod
    def of(cls, error: ModuleNotFoundError) -> "MissingExtra | None":
        """The same in our words, where the module that is missing comes with an extra."""
        module = (error.name or "").split(".")[0]
        return (
            cls(f"this part of tellapart (by way of {module})", _EXTRAS[module])
            if module in _EXTRAS
            else None
        )

    def __reduce__(self) -> tuple[type["MissingExtra"], tuple[str, str]]:
        return type(self), (self.what, self.extra)

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the extra '{extra}'. Install it with: pip install \"tellapart[{extra}]\""
        )
        self.what, self.extra = what, extra
