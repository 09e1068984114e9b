"""ONNX Runtime for browsers: which version, which of its files, and what is in them.

The one place that names the version. Two files are all that a page needs: the plain WebAssembly build,
without WebGPU and with its loader inside of the script. They are copied from the npm package
`onnxruntime-web`, or the page fetches them from a network that mirrors npm; either way they are what these
digests say, or are not used. To take another version: change all of it below, and run `make browser`.
"""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tellapart.errors import UsageError

__all__ = [
    "HOST",
    "PACKAGE",
    "SCRIPT",
    "VERSION",
    "WASM",
    "RuntimeFile",
    "integrity",
    "runtime_files",
]

PACKAGE: Final = "onnxruntime-web"
VERSION: Final = "1.30.0"
HOST: Final = "https://cdn.jsdelivr.net"
"""Where a page takes the files from that has no copy: it mirrors npm, versions there never change."""


@dataclass(frozen=True)
class RuntimeFile:
    """A file of the package: its name in `dist`, that in a page, its bytes and their digest (SHA-384).

    >>> SCRIPT.url.removeprefix(HOST)
    '/npm/onnxruntime-web@1.30.0/dist/ort.wasm.bundle.min.mjs'
    """

    name: str
    path: str
    bytes: int
    integrity: str

    @property
    def url(self) -> str:
        return f"{HOST}/npm/{PACKAGE}@{VERSION}/dist/{self.name}"


# Not called .mjs in a page, which some servers do not know to be a script.
SCRIPT: Final = RuntimeFile(
    "ort.wasm.bundle.min.mjs", "runtime/onnxruntime-web.js", 73_054,
    "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
)  # fmt: skip
WASM: Final = RuntimeFile(
    "ort-wasm-simd-threaded.wasm", "runtime/onnxruntime-web.wasm", 14_239_897,
    "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
)  # fmt: skip


def integrity(content: bytes) -> str:
    """The digest of some bytes as browsers write it (Subresource Integrity).

    >>> integrity(b"")[:23]
    'sha384-OLBgp1GsljhM2TJ+'
    """
    return "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode("ascii")


def runtime_files(folder: Path) -> dict[str, bytes]:
    """The contents of both files by their paths in a page, from a folder of the npm package, or its `dist`.

    Raises UsageError where they are not there, or are not of the version that a page is made for.
    """
    dist = next(
        (place for place in (folder, folder / "dist") if (place / SCRIPT.name).is_file()), None
    )
    if dist is None:
        raise UsageError(
            f"{folder} has no {SCRIPT.name}: expected the folder of the npm package {PACKAGE}. {_INSTALL}"
        )
    found = {}
    for file in (SCRIPT, WASM):
        try:
            content = (dist / file.name).read_bytes()
        except OSError as error:
            raise UsageError(
                f"{dist / file.name} cannot be read: {error.strerror}. {_INSTALL}"
            ) from None
        if integrity(content) != file.integrity:
            raise UsageError(
                f"{dist / file.name} is not that of {PACKAGE} {VERSION}: {len(content):,} bytes, expected "
                f"{file.bytes:,} with another digest. {_INSTALL}"
            )
        found[file.path] = content
    return found


_INSTALL = f"Get it: npm install {PACKAGE}@{VERSION}, then --runtime node_modules/{PACKAGE}"
