"""What each of several processes does in test_group.py."""

import json
import os
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from test_loop import CLASSES, SIZE, WEIGHTS, new_classifier

from tellapart.finetuning import gradients
from tellapart.finetuning.augment import Transforms
from tellapart.finetuning.group import ALONE, LostProcess
from tellapart.finetuning.loop import LoopOptions, train_epochs
from tellapart.finetuning.pictures import Pictures
from tellapart.finetuning.schedule import layer_rates, one_cycle
from tellapart.model.preprocess import PreprocessSpec

DIALS = {
    "everything": {
        "accumulate": 2, "mixup": 0.3, "cutmix": 1.0, "ema": 0.6, "patience": 1, "seed": 5,
        "class_weights": WEIGHTS, "label_smoothing": 0.1,
    },
    "plain": {"batch": 7, "class_weights": WEIGHTS},
    "short": {"batch": 2, "pieces": 3},  # some shares are empty
}  # fmt: skip


def some(root, count, first=0, **changes):
    numbers = range(first, first + count)
    paths, targets = [f"{n}.png" for n in numbers], [n % CLASSES for n in numbers]
    return Pictures(Path(root), paths, targets, PreprocessSpec(size=SIZE), **changes)


class Counted(Pictures):
    """Pictures that note which of them were loaded."""

    def chosen(self, plan, epoch=0, workers=0):
        LOADED.extend((epoch, place) for chosen in plan for place in chosen)
        return super().chosen(plan, epoch, workers)


LOADED = []


def trained(root, file, kind, group=ALONE, on_step=lambda step: None, classifier=None):
    """19 pictures to train on, 7 to measure by, 5 aside: nothing is divisible by anything."""
    LOADED.clear()
    classifier = classifier or new_classifier(dropout=0.3)
    options = LoopOptions(**{"epochs": 3, "batch": 4, "pieces": 2, "workers": 0, **DIALS[kind]})
    train = some(root, 19, transforms=Transforms(p_affine=0), seed=3)
    valid = Counted(**vars(some(root, 7, first=19)))
    aside = some(root, 5, first=26) if options.patience else None
    steps = train.steps(options.batch * options.accumulate)
    cycle = one_cycle(options.epochs * steps, layer_rates((1e-2, 1e-1), 3), div=5.0)
    notes, steps_made = [], []

    def stepped(step):
        steps_made.append(step.loss)
        on_step(step)

    # bfloat16 would round sums of few pictures otherwise than those of many
    with patch.object(gradients, "autocast", torch.enable_grad):
        done = train_epochs(
            classifier, train, valid, cycle, options, Path(file), aside=aside, group=group,
            on_step=stepped, on_note=notes.append,
        )  # fmt: skip
    return {
        "losses": [[row.train_loss, row.valid_loss, row.lr] for row in done.history],
        "counts": [[row.errors, row.n, *row.predicted_counts] for row in done.history],
        "notes": done.notes,
        "steps": steps_made, "measured": sorted(map(list, LOADED)),
        "state": {name: t.flatten().tolist() for name, t in classifier.state_dict().items()},
    }  # fmt: skip


class Narrow(type(new_classifier())):
    """Memory for two pictures that learn."""

    def forward(self, pixels):
        if self.training and len(pixels) > 2:
            raise MemoryError
        return super().forward(pixels)


def train_all(group, root, folder):
    found = {kind: trained(root, f"{folder}/{kind}", kind, group) for kind in DIALS}
    kind = Narrow if group.rank == 1 else type(new_classifier())
    found["narrow"] = trained(
        root, f"{folder}/narrow", "plain", group, classifier=new_classifier(kind, dropout=0.0)
    )
    found["told"] = told(group)
    found["resumed"] = trained(root, f"{folder}/of-one", "everything", group)
    found["gradients"] = summed_gradients(group)
    found["lost"] = lose_one(group, root, folder, found)
    return found


def told(group):
    """Each primitive once."""
    tensors = {"a": torch.full((2, 3), 7.5), "b": torch.tensor(3), "c": torch.tensor([True])}
    own = tensors if group.first else {}
    return {
        "facts": group.told({"text": "\udcff é"} if group.first else None) == {"text": "\udcff é"},
        "least": group.least(5 - group.rank),
        "summed": group.summed(torch.arange(3) + group.rank).tolist(),
        "tensors": all(torch.equal(t, tensors[n]) for n, t in group.tensors(own).items()),
    }  # fmt: skip


def summed_gradients(group):
    """Of three parameters one has a gradient everywhere, one in process 1, one nowhere."""
    model = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(2)) for _ in range(3)])
    model[0].grad = torch.full((2,), 1.0 + group.rank)
    if group.rank == 1:
        model[1].grad = torch.ones(2)
    group.sum_gradients(model)
    return [None if p.grad is None else p.grad.tolist() for p in model]


def lose_one(group, root, folder, found):
    """Process 1 is gone after its third step, with what it has found until then told."""

    def leave(step):
        if step.done == 3 and group.rank == 1:
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()
            os._exit(0)

    try:
        trained(root, f"{folder}/lost", "everything", group, leave)
    except LostProcess as error:
        return str(error)
    return "not noticed"
