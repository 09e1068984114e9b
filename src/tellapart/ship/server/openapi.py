"""What `/openapi.json` says beyond the routes: bodies, answers with examples, and errors of one shape."""

from copy import deepcopy
from typing import Any, Final

__all__ = ["DESCRIPTION", "describe"]

DESCRIPTION: Final = (
    "Tells what pictures show. Every picture gets a class, the probabilities of all classes, and a verdict "
    "that says when to believe it."
)
_PICTURE: Final = {
    "path": "new.jpg", "label": "cat", "probability": 0.93, "probabilities": {"cat": 0.93, "dog": 0.07},
    "verdict": "sure", "reason": "0.930 reaches the 0.810 that keeps errors below 5 %",
    "possible": ["cat"], "error": None,
}  # fmt: skip
_BROKEN: Final = {
    **dict.fromkeys(_PICTURE), "path": "cut.jpg",
    "error": "truncated (the file ends early; fetch it again)",
}  # fmt: skip


def _or_null(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": [kind, "null"], **more}


_PREDICTION: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Prediction",
    "properties": {
        "path": _or_null("string", description="The file's name in a form; null for a picture as it is."),
        "label": _or_null("string", description="The most probable class."),
        "probability": _or_null("number", minimum=0, maximum=1.0001),
        "probabilities": _or_null(
            "object", additionalProperties={"type": "number", "minimum": 0, "maximum": 1.0001}
        ),
        "verdict": {"enum": ["sure", "not_sure", "none_of_these", None]},
        "reason": _or_null("string", description="Why the verdict is what it is."),
        "possible": _or_null(
            "array", items={"type": "string"},
            description="The right class is among these for 95 % of pictures; null where not known.",
        ),
        "error": _or_null("string", description="Why the picture cannot be used; null where it can."),
    },
    "required": list(_PICTURE),
    "additionalProperties": False,
}  # fmt: skip
_PREDICTIONS: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Predictions",
    "properties": {"predictions": {"type": "array", "items": _PREDICTION, "minItems": 1}},
    "required": ["predictions"],
    "additionalProperties": False,
}
_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Error",
    "properties": {
        "error": {"type": "string", "description": "What was wrong, and the next step."}
    },
    "required": ["error"],
    "additionalProperties": False,
}


def _error(description: str, example: str, **headers: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _ERROR, "example": {"error": example}}}
    found: dict[str, Any] = {"description": description, "content": content}
    if headers:
        found["headers"] = {
            name.replace("_", "-"): {"description": text, "schema": {"type": "string"}}
            for name, text in headers.items()
        }
    return found


_COMMON: Final[dict[str, dict[str, Any]]] = {
    "400": _error("The request cannot be read.", "The body is empty. Send a picture as it is."),
    "401": _error(
        "No token, or a wrong one.", "The token is missing or wrong.", WWW_Authenticate="Bearer"
    ),
    "403": _error("Another host, or another page.", "Requests from other pages are not answered."),
}
_BUSY: Final = _error(
    "More waits than can be answered in time, or the server is stopping.",
    "More is waiting than can be answered in 5 s. Ask again in 3 s.",
    Retry_After="Seconds after which it is worth asking again.",
)
_PART: Final = {"type": "string", "format": "binary"}
_BYTES: Final = {**_PART, "minLength": 1}

_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "One picture as it is, or several as the files of a form.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "array", "items": _PART, "minItems": 1}},
                "required": ["file"],
                "additionalProperties": False,
            }
        },
        "application/octet-stream": {"schema": _BYTES},
        "image/*": {"schema": _BYTES},
    },
}
_PREDICT: Final[dict[str, Any]] = {
    "requestBody": _BODY,
    "responses": {
        "200": {
            "description": "The answer. To a picture sent as it is: one object. To a form: a list, in the "
            "order sent, in which a picture that cannot be used has its error and null in all else.",
            "content": {
                "application/json": {
                    "schema": {"oneOf": [_PREDICTION, _PREDICTIONS]},
                    "examples": {
                        "one": {"summary": "A picture as it is", "value": {**_PICTURE, "path": None}},
                        "form": {"summary": "A form", "value": {"predictions": [_PICTURE, _BROKEN]}},
                    },
                }
            },
        },
        **_COMMON,
        "408": _error("The body came too slowly.", "The body did not arrive within 30 s."),
        "413": _error("Too many bytes or files.", "At most 64 MiB can be sent at a time; send less."),
        "415": _error("What was sent is no picture.", "The picture cannot be used: not an image."),
        "422": _error("The picture is broken, or too large.", "The picture cannot be used: truncated."),
        "500": _error("A fault of the server.", "Something went wrong in the server; its log says where."),
        "503": _BUSY,
    },
}  # fmt: skip

_FACTS: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Model",
    "properties": {
        "name": {"type": "string"},
        "classes": {"type": "array", "items": {"type": "string"}},
        "precision": {"type": "string"},
        "rule": {"type": "object"},
        "metrics": {"type": "object"},
        "backbone": {"type": "object"},
        "limits": {"type": "object"},
    },
    "required": ["name", "classes", "precision", "rule", "metrics", "backbone", "limits"],
}
_MODEL: Final[dict[str, Any]] = {
    "responses": {
        "200": {
            "description": "What answers: classes, measured quality with intervals, licence of the weights; "
            "and what a request may hold.",
            "content": {
                "application/json": {
                    "schema": _FACTS,
                    "example": {
                        "name": "pets", "classes": ["cat", "dog"], "precision": "float32",
                        "rule": {"sure_from": 0.81, "target_error": 0.05},
                        "metrics": {"valid": {"n": 300, "errors": 6, "accuracy": 0.98}},
                        "backbone": {"name": "tf_efficientnet_lite0", "licence": "Apache-2.0"},
                        "limits": {"most_bytes": 67108864, "most_files": 32, "deadline": 5.0},
                    },
                }
            },
        },
        **{status: _COMMON[status] for status in ("401", "403")},
    }
}  # fmt: skip

_STATE: Final[dict[str, Any]] = {
    "type": "object",
    "title": "State",
    "properties": {"status": {"type": "string"}},
    "required": ["status"],
    "additionalProperties": False,
}


def _state(description: str, example: str) -> dict[str, Any]:
    content = {"application/json": {"schema": _STATE, "example": {"status": example}}}
    return {"description": description, "content": content}


_HEALTH: Final[dict[str, Any]] = {
    "responses": {"200": _state("The process lives.", "ok"), "403": _COMMON["403"]}
}
_READY: Final[dict[str, Any]] = {
    "responses": {
        "200": _state("The model is loaded and has answered.", "ready"),
        "403": _COMMON["403"],
        "503": _error("It is stopping.", "The server is stopping."),
    }
}
_METRICS: Final[dict[str, Any]] = {
    "responses": {
        "200": {
            "description": "Counts and seconds, for Prometheus.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **{status: _COMMON[status] for status in ("401", "403")},
    }
}

_ROUTES: Final = {
    "/v1/predict": ("post", _PREDICT), "/v1/model": ("get", _MODEL), "/metrics": ("get", _METRICS),
    "/healthz": ("get", _HEALTH), "/readyz": ("get", _READY),
}  # fmt: skip
_OPEN: Final = ("/healthz", "/readyz")


def describe(description: dict[str, Any], *, most_files: int, token: bool) -> None:
    """Complete what FastAPI found of the routes: it knows no bodies that it does not read itself, and
    leaves null out of examples. With `token` the routes that ask for one say so."""
    for path, (method, facts) in _ROUTES.items():
        operation = description["paths"][path][method]
        operation.update(deepcopy(facts))
        if token and path not in _OPEN:
            operation["security"] = [{"token": []}]
    body = description["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    body["multipart/form-data"]["schema"]["properties"]["file"]["maxItems"] = most_files
    if token:
        schemes = {"token": {"type": "http", "scheme": "bearer"}}
        description.setdefault("components", {})["securitySchemes"] = schemes
