"""A copy of a run with its network in it, as a fine-tuned stage has it."""

import shutil
from pathlib import Path

from tellapart.training.run import Run, write_info

__all__ = ["copy_of_run"]


def copy_of_run(run: Run, folder: Path) -> Run:
    """At `folder`, which is new; without the run's stages."""
    backbone = run.backbone()
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("stages"))
    (folder / "network.onnx").write_bytes(backbone.graph)
    facts = {
        **run.info["backbone"], "graph": "network.onnx", "layout": backbone.layout,
        "info": backbone.info.to_json(),
    }  # fmt: skip
    return write_info(folder, {**run.info, "backbone": facts})
