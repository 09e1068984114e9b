"""The network that a stage ends with: its files, what is known of it, and its answers.

Of several processes the first one converts and writes it; then each looks at its part of the pictures.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from tellapart.data.atomic_file import write_atomically
from tellapart.data.dataset import Dataset
from tellapart.errors import RunError
from tellapart.finetuning.classifier import Classifier
from tellapart.finetuning.convert import as_backbone
from tellapart.finetuning.group import Group
from tellapart.finetuning.network import tensors_hash
from tellapart.finetuning.stages import held_out
from tellapart.model.backbone import Backbone, BackboneInfo
from tellapart.training.embed import Embedder, embed_again
from tellapart.training.probe import Probe
from tellapart.training.run import Run, writing

__all__ = ["held_out_answers", "network_facts", "shared_network", "write_network"]


def _converted(classifier: Classifier, run: Run) -> Backbone:
    network = classifier.network
    info = replace(
        network.info, origin="training", weights_sha256=tensors_hash(network.model),
        source=f"fine-tuned from: {run.info['backbone']['source']}", preprocess=run.preprocess,
    )  # fmt: skip
    return as_backbone(network, info)


def write_network(classifier: Classifier, run: Run, folder: Path) -> Backbone:
    """Put the weights and the graph into the stage's folder. Raises RunError, ModelError."""
    backbone = _converted(classifier, run)
    with writing(folder):
        write_atomically(folder / "network.safetensors", save(_weights(classifier)))
        write_atomically(folder / "network.onnx", backbone.graph)
    return backbone


def shared_network(
    backbone: Backbone | None, classifier: Classifier, folder: Path, group: Group
) -> Backbone:
    """The graph that the first process, which gives it, has written into the stage's folder.

    Raises RunError where another process does not find it there.
    """
    known = backbone and {"info": backbone.info.to_json(), "sha256": backbone.graph_hash}
    facts = group.told(known)
    if backbone is not None:
        return backbone
    file = folder / "network.onnx"
    with writing(folder):
        graph = file.read_bytes()
    if hashlib.sha256(graph).hexdigest() != facts["sha256"]:
        raise RunError(
            f"{file} is not what the first process has written. All processes must see the same folder: "
            "put the run on a disk that they share."
        )
    info = BackboneInfo.from_json(facts["info"])
    return Backbone(info, graph, facts["sha256"], classifier.network.layout)


def _weights(classifier: Classifier) -> dict[str, Any]:
    state = classifier.network.model.state_dict()
    return {name: tensor.detach().contiguous() for name, tensor in state.items()}


def held_out_answers(
    probe: Probe, backbone: Backbone, run: Run, dataset: Dataset, group: Group
) -> tuple[NDArray[np.float32], int]:
    """Probabilities of the held-out pictures by the graph, as everybody will use it: float32 (N, K), and how
    many were computed.

    Process r of W looks at pictures r, r + W, …; none needs more CPUs than it trained with.
    """
    threads = None if group.size == 1 else torch.get_num_threads()
    embedder = Embedder(
        backbone, run.preprocess, runtime=run.info["options"]["runtime"], workers=threads
    )
    part = held_out(dataset)
    own = range(group.rank, len(part), group.size)
    features = embed_again(part, own, embedder)
    if group.size == 1:
        return probe.probabilities(features.values), features.computed
    answers = torch.zeros(len(part), len(dataset.classes))
    answers[own.start :: own.step] = torch.from_numpy(probe.probabilities(features.values))
    computed = int(group.summed(torch.tensor(features.computed)))
    return group.summed(answers).numpy(), computed


def network_facts(run: Run, backbone: Backbone) -> dict[str, Any]:
    """What the stage's run.json says of its network."""
    return {
        **run.info["backbone"], "graph": "network.onnx", "graph_sha256": backbone.graph_hash,
        "weights_sha256": backbone.info.weights_sha256, "source": backbone.info.source,
        "origin": "training", "layout": backbone.layout, "info": backbone.info.to_json(),
    }  # fmt: skip
