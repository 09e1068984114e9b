"""Backbones of timm's: how they are made into graphs, loaded, kept, and opened without torch."""

import pickle
import subprocess
import sys
import warnings
import zipfile
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tellapart.errors import MissingExtra, ModelError, UsageError, WeightsError
from tellapart.model.backbones import cache_folder, open_backbone, reopen_backbone
from tellapart.model.embedded import BACKBONES
from tellapart.model.runtime import open_session

torch = pytest.importorskip("torch", reason="no torch; it comes with the extra 'finetune'")
timm = pytest.importorskip("timm", reason="no timm; it comes with the extra 'finetune'")

from safetensors.torch import save_file  # noqa: E402

from tellapart.finetuning import convert as converter  # noqa: E402
from tellapart.finetuning.convert import MOST_ERROR, as_backbone, convert  # noqa: E402
from tellapart.finetuning.network import load_network, tensors_hash  # noqa: E402

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
SMALL = "test_resnet"
DENSENET = (
    Path(__file__).parents[3] / "shared" / "weights" / "densenet169_imagenet_features.safetensors"
)
FAMILIES = [
    "resnet18", "resnet26", "densenet121", "mobilenetv3_small_050", "efficientnet_b0", "regnetx_002",
    "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "maxvit_rmlp_pico_rw_256",
]  # fmt: skip
MORE_FAMILIES = [
    "resnet34", "tf_efficientnet_b0", "mobilenetv3_large_100", "swinv2_cr_tiny_ns_224",
    "swin_s3_tiny_224", "maxxvit_rmlp_nano_rw_256", "deit_tiny_distilled_patch16_224", "vgg11_bn",
    "inception_v3", "mixer_s32_224", "ghostnet_050", "hrnet_w18_small", "xcit_nano_12_p16_224",
    "levit_128s", "fastvit_t8", "repvgg_a0", "poolformer_s12", "dla34", "efficientvit_b0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TELLAPART_CACHE", str(tmp_path / "cache"))
    # What HF_HUB_OFFLINE=1 sets when it is there from the beginning.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def random_network(name):
    torch.manual_seed(0)
    return load_network(name, pretrained=False)


def random_state(name, **arguments):
    torch.manual_seed(1)
    return timm.create_model(name, **arguments).state_dict()


def relative_error(found, expected):
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def python(code, *arguments):
    """In a process in which torch cannot be imported."""
    blocked = "import sys\nfor name in ('torch', 'timm', 'torchvision'): sys.modules[name] = None\n"
    return subprocess.run(
        [sys.executable, "-c", blocked + code, *map(str, arguments)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


# From torch to a graph.


def check_family(name):
    network = random_network(name)
    backbone = as_backbone(network)
    size = backbone.info.preprocess.size
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(7))
    session = open_session(backbone.graph, workers=1)
    found = session.run(pixels.numpy())["features"]
    model = network.model
    with torch.inference_mode():
        expected = network(pixels).numpy()
        final = model.forward_head(model.forward_features(pixels), pre_logits=True).numpy()
        _, maps = network.maps(pixels)
    assert relative_error(found, expected) <= MOST_ERROR
    assert relative_error(found[:, : final.shape[1]], final) <= MOST_ERROR
    ends = np.cumsum([0, *(length for _, length in backbone.layout)])
    assert found.shape == (2, ends[-1])
    assert backbone.dimensions == {"final": final.shape[1], "all": found.shape[1]}
    for (part, _), (start, end) in zip(backbone.layout[1:], pairwise(ends[1:]), strict=True):
        values = maps[int(part.split("_")[0].removeprefix("stage"))].double().numpy()
        of_places = values.std((2, 3)) if part.endswith("std") else values.mean((2, 3))
        assert np.abs(found[:, start:end] - of_places).max() <= 1e-4 * np.abs(found).max(), part
    check_groups(network)


def check_groups(network):
    groups = network.parameter_groups()
    named = [name for group in groups for name, _ in group]
    assert sorted(named) == sorted(name for name, _ in network.model.named_parameters())
    assert len(groups) >= 4 or not hasattr(network.model, "group_matcher")
    assert all(groups)
    modules = [module for group in network.groups() for module in group]
    assert len(set(map(id, modules))) == len(modules)


@pytest.mark.parametrize("name", FAMILIES)
def test_ten_families_agree_with_timm(name):
    check_family(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE_FAMILIES)
def test_more_families_agree_with_timm(name):
    check_family(name)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_the_packaged_weights_in_timms_modules_give_the_embedded_graphs_features(name):
    network = load_network(name)
    embedded = open_backbone(name)
    size = network.info.preprocess.size
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected = network(pixels).numpy()
    found = open_session(embedded.graph, workers=1).run(pixels.numpy())["features"]
    assert relative_error(found, expected) <= 1e-4
    assert network.layout == embedded.layout
    assert network.info == embedded.info
    assert len(network.groups()) == len(network.parameter_groups()) == 8


def test_any_size_where_the_network_takes_any():
    free, fixed = as_backbone(random_network(SMALL)), as_backbone(random_network("test_vit"))
    assert free.info.any_size
    assert not fixed.info.any_size
    pixels = np.zeros((3, 3, 96, 128), np.float32)
    assert open_session(free.graph).run(pixels)["features"].shape == (3, free.dimensions["all"])


def test_exporting_leaves_a_training_network_as_it_is_and_gives_the_same_bytes():
    network = random_network(SMALL).train()
    before = tensors_hash(network.model)
    first, second = as_backbone(network), as_backbone(network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert tensors_hash(network.model) == before == network.info.weights_sha256
    assert first.graph == second.graph


def test_gradients_are_finite_where_a_map_is_constant():
    network = random_network(SMALL).train()
    pixels = torch.zeros(2, 3, 64, 64, requires_grad=True)
    network(pixels).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_a_graph_that_disagrees_is_refused(monkeypatch):
    exported = converter._exported

    def of_another_network(network, info):
        with torch.no_grad():
            next(network.model.parameters()).mul_(1.01)
        graph = exported(network, info)
        with torch.no_grad():
            next(network.model.parameters()).div_(1.01)
        return graph

    monkeypatch.setattr(converter, "_exported", of_another_network)
    with pytest.raises(ModelError, match=r"disagrees with torch: at 1 × 160 px by \d"):
        as_backbone(random_network(SMALL))


# Names, and the hub.


def test_an_unknown_name_gets_close_ones():
    with pytest.raises(UsageError, match=r"'resnet81' is unknown to timm .*resnet18"):
        open_backbone("resnet81")
    with pytest.raises(UsageError, match=r"did you mean .*tf_efficientnet_lite0"):
        open_backbone("tf_eficientnet_lite0")


def test_without_the_hub_the_next_step_is_a_file():
    with pytest.raises(WeightsError, match=r"could not be had from the .* hub .*--weights FILE"):
        open_backbone("resnet18")


def test_the_hubs_weights_are_converted_once_and_opened_by_name(monkeypatch):
    from tellapart.finetuning import network

    def downloaded(name):
        model = timm.create_model(name, num_classes=0)
        model.load_state_dict(random_state(name, num_classes=0))
        return model

    monkeypatch.setattr(network, "_from_hub", downloaded)
    first = open_backbone(SMALL)
    assert (first.info.origin, first.info.licence) == ("hub", "apache-2.0")
    assert first.info.source == f"timm/{SMALL}.r160_in1k, by way of timm"
    monkeypatch.setattr(network, "_from_hub", None)
    assert open_backbone(SMALL) == first


# Files of weights.


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "model_state_dict", "module."])
def test_a_file_as_a_training_left_it(tmp_path, wrap):
    state = random_state(SMALL)
    if wrap == "module.":
        content = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    else:
        content = state if wrap == "plain" else {"epoch": 3, wrap: state}
    torch.save(content, tmp_path / "weights.pth")
    network = load_network(SMALL, tmp_path / "weights.pth")
    own = network.model.state_dict()
    assert all(torch.equal(own[key], state[key]) for key in own)
    assert network.info.source == "the file weights.pth"
    assert (network.info.origin, network.info.licence) == ("file", "unknown")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_safetensors_without_a_classifier_and_in_half_precision(tmp_path, dtype):
    state = random_state(SMALL, num_classes=0)
    stored = {
        key: value.to(getattr(torch, dtype)) if value.is_floating_point() else value
        for key, value in state.items()
    }
    save_file(stored, tmp_path / "weights.safetensors")
    network = load_network(SMALL, tmp_path / "weights.safetensors")
    assert "only the classifier is missing" in network.info.source
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_torchvisions_names(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    for name in ("resnet18", "densenet121"):
        torch.manual_seed(2)
        theirs = torchvision.models.get_model(name, weights=None).eval()
        torch.save(theirs.state_dict(), tmp_path / f"{name}.pth")
        network = load_network(name, tmp_path / f"{name}.pth")
        pixels = torch.randn(1, 3, 64, 64)
        body = torch.nn.Sequential(*list(theirs.children())[:-1])
        with torch.inference_mode():
            expected = body(pixels)
            if name == "densenet121":
                expected = torch.relu(expected).mean((2, 3))
            found = network(pixels)[:, : network.layout[0][1]]
        assert relative_error(found.numpy(), expected.flatten(1).numpy()) <= 1e-5


def test_the_old_names_of_densenets(tmp_path):
    state = random_state("densenet121")
    old = OrderedDict()
    for key, value in state.items():
        parts = key.split(".")
        if "denselayer" in key:  # norm1.weight was norm.1.weight
            parts[-2] = f"{parts[-2][:-1]}.{parts[-2][-1]}"
        if not key.endswith("num_batches_tracked"):
            old[".".join(parts)] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    own = load_network("densenet121", tmp_path / "old.pth").model.state_dict()
    assert all(torch.equal(own[k], state[k]) for k in own if not k.endswith("tracked"))


def test_the_names_of_an_original_release(tmp_path):
    """Facebook's ConvNeXt, by timm's own translation."""
    state = random_state("convnext_atto")
    original = {}
    for key, value in state.items():
        for ours, theirs in (
            ("stem.", "downsample_layers.0."), ("head.norm.", "norm."), ("head.fc.", "head."),
            (".conv_dw.", ".dwconv."), (".mlp.fc1.", ".pwconv1."), (".mlp.fc2.", ".pwconv2."),
        ):  # fmt: skip
            key = key.replace(ours, theirs)
        for stage in range(1, 4):
            key = key.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
        original[key.replace(".blocks.", ".")] = value
    torch.save({"model": original}, tmp_path / "weights.pth")
    own = load_network("convnext_atto", tmp_path / "weights.pth").model.state_dict()
    assert all(torch.equal(own[key].flatten(), state[key].flatten()) for key in own)


def test_a_file_that_does_not_fit_says_how_many_and_which(tmp_path):
    state = random_state(SMALL)
    missing = [key for key in state if key.startswith("layer2.") and key.endswith("weight")]
    changed = {key: value for key, value in state.items() if key not in missing}
    changed["surprise.weight"] = torch.zeros(2)
    changed["conv1.0.weight"] = torch.zeros(5, 3, 3, 3)
    torch.save(changed, tmp_path / "wrong.pth")
    with pytest.raises(WeightsError) as caught:
        open_backbone(SMALL, tmp_path / "wrong.pth")
    message = str(caught.value)
    assert f"{len(missing)} missing ({', '.join(missing[:3])}, …)" in message
    assert "1 unexpected (surprise.weight)" in message
    assert "1 of another shape (conv1.0.weight (5, 3, 3, 3) for (" in message
    assert "Is it the right --backbone?" in message
    torch.save(random_state("test_convnext"), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"missing .*; \d+ unexpected"):
        open_backbone(SMALL, tmp_path / "other.pth")


class Planted:
    """What runs `touch` when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.trace}",)


def test_code_in_a_file_is_not_run(tmp_path):
    trace, file = tmp_path / "trace", tmp_path / "hostile.pth"
    torch.save({"state_dict": random_state(SMALL), "extra": Planted(trace)}, file)
    with pytest.raises(
        WeightsError, match="holds more than tensors, and code in a file is not run"
    ):
        open_backbone(SMALL, file)
    file.write_bytes(pickle.dumps(Planted(trace)))
    with pytest.raises(WeightsError, match=r"hostile\.pth: .*safetensors"):
        open_backbone(SMALL, file)
    assert not trace.exists()
    pickle.loads(file.read_bytes())  # the trap works
    assert trace.exists()


def test_other_files_are_refused_with_the_next_step(tmp_path):
    whole = tmp_path / "whole.pth"
    torch.save(torch.nn.Linear(2, 2), whole)
    with pytest.raises(WeightsError, match="holds more than tensors"):
        load_network(SMALL, whole)
    program = tmp_path / "program.pt"
    with warnings.catch_warnings(
        action="ignore"
    ):  # torch deprecates it, and people have such files
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(program))
    with pytest.raises(
        WeightsError, match="TorchScript program, which is not run; save the weights"
    ):
        load_network(SMALL, program)
    with zipfile.ZipFile(tmp_path / "empty.pth", "w"):
        pass
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    (tmp_path / "text.pth").write_text("weights")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    (tmp_path / "weights.h5").touch()
    for name, reason in {
        "empty.pth": "damaged, or no file of torch's",
        "cut.safetensors": "no safetensors file, or damaged",
        "text.pth": "not run|damaged",
        "none.pth": "holds no dictionary of tensors",
        "weights.h5": r"\.h5 is not read; give a file .*\.safetensors, \.pth or \.pt",
        "gone.pth": "cannot be read .*is the path right",
    }.items():
        with pytest.raises(WeightsError, match=reason):
            load_network(SMALL, tmp_path / name)


@pytest.mark.skipif(not DENSENET.exists(), reason=f"{DENSENET} is not there")
def test_a_real_densenet_lacks_only_its_classifier():
    network = load_network("densenet169", DENSENET)
    assert network.info.source == (
        "the file densenet169_imagenet_features.safetensors, in which only the classifier is "
        "missing, and none is needed"
    )
    assert network.info.preprocess.mean == (0.485, 0.456, 0.406)
    assert network.info.parameters == 12_484_480


# How conversions are kept, and opened without torch.


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(random_state(SMALL), path)
    return path


OPEN = """
from tellapart.model.backbones import open_backbone
print(open_backbone(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None).graph_hash)
"""


def test_a_conversion_opens_without_torch(weights):
    first = open_backbone(SMALL, weights)
    again = python(OPEN, SMALL, weights)
    assert again.stdout.split() == [first.graph_hash], again.stderr
    assert open_backbone(SMALL, weights) == first
    assert convert(SMALL, weights) == first
    assert len(list((cache_folder() / "graphs").glob("*.onnx"))) == 1
    moved = weights.rename(weights.with_name("moved.safetensors"))
    assert python(OPEN, SMALL, moved).stdout.split() == [first.graph_hash]


def test_what_is_missing_without_torch_is_named(weights):
    done = python(OPEN, SMALL, weights)
    assert MissingExtra.__name__ in done.stderr
    assert f"converting the backbone {SMALL} (embedded are tf_efficientnet_lite0 and" in done.stderr
    assert 'pip install "tellapart[finetune]"' in done.stderr


def test_another_file_is_another_backbone(weights, tmp_path):
    first = open_backbone(SMALL, weights)
    save_file({k: v * 1.01 for k, v in random_state(SMALL).items()}, weights)
    second = open_backbone(SMALL, weights)
    assert first.graph_hash != second.graph_hash
    assert first.info.weights_sha256 != second.info.weights_sha256
    with pytest.raises(WeightsError):  # a file's conversion is never taken for the hub's
        open_backbone(SMALL)


def test_an_embedded_name_with_other_weights(tmp_path):
    save_file(random_state("tf_efficientnet_lite0"), tmp_path / "own.safetensors")
    own = open_backbone("tf_efficientnet_lite0", tmp_path / "own.safetensors")
    embedded = open_backbone("tf_efficientnet_lite0")
    assert own.info.origin == "file"
    assert own.layout == embedded.layout
    assert own.graph_hash != embedded.graph_hash


def test_weights_that_give_no_numbers(tmp_path):
    save_file(
        {k: v * float("nan") for k, v in random_state(SMALL).items()}, tmp_path / "nan.safetensors"
    )
    with pytest.raises(ModelError, match="no finite numbers; are its weights damaged"):
        open_backbone(SMALL, tmp_path / "nan.safetensors")


def test_a_damaged_conversion_is_made_again(weights):
    first = open_backbone(SMALL, weights)
    (file,) = (cache_folder() / "graphs").glob("*.onnx")
    file.write_bytes(file.read_bytes()[:-1])
    assert open_backbone(SMALL, weights) == first


def test_a_run_is_reopened_by_its_graph(weights):
    backbone = open_backbone(SMALL, weights)
    facts = {
        "name": SMALL,
        "graph_sha256": backbone.graph_hash,
        "weights_sha256": backbone.info.weights_sha256,
    }
    weights.rename(weights.with_name("gone.safetensors"))
    assert reopen_backbone(facts, str(weights)) == backbone
    for path in (cache_folder() / "graphs").iterdir():
        path.unlink()
    with pytest.raises(ModelError, match=r"no longer in .*put the file back, or train again"):
        reopen_backbone(facts, str(weights))
    weights.with_name("gone.safetensors").rename(weights)
    assert reopen_backbone(facts, str(weights)) == backbone  # converted again
    with pytest.raises(UsageError):
        reopen_backbone({**facts, "name": "../other"}, None)


PREDICT = """
import json, tellapart
answer = tellapart.load(sys.argv[1]).predict(sys.argv[2])
print(json.dumps(answer.to_json()))
"""


def test_a_run_with_a_converted_backbone(weights, write_picture, tmp_path):
    import json

    from PIL import Image

    import tellapart

    for label, colour in (("red", 200), ("dim", 60)):
        for i in range(6):
            path = tmp_path / "data" / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (90 + i, 80), (colour, 5 * i, 30)).save(path)
    options = tellapart.TrainOptions(SMALL, str(weights))
    run = tellapart.train(tmp_path / "data", tmp_path / "run", options)
    assert run.info["backbone"]["weights_sha256"] in (tmp_path / "run/config.json").read_text()
    assert run.info["backbone"]["origin"] == "file"
    assert any("their licence: unknown" in note for note in run.notes)
    picture = tmp_path / "data" / "red" / "0.png"
    expected = tellapart.load(run.folder).predict(picture)
    done = python(PREDICT, run.folder, picture)
    assert json.loads(done.stdout)["probabilities"] == expected.to_json()["probabilities"], done


def test_a_size_that_a_network_does_not_take(tmp_path, write_picture):
    import tellapart

    save_file(random_state("test_vit"), tmp_path / "vit.safetensors")
    for label in "ab":
        for i in range(3):
            write_picture(tmp_path / "data" / label / f"{i}.png")
    options = tellapart.TrainOptions("test_vit", str(tmp_path / "vit.safetensors"), size=192)
    with pytest.raises(UsageError, match="test_vit sees 160 px and no other size"):
        tellapart.train(tmp_path / "data", tmp_path / "run", options)
