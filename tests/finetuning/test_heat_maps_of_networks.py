"""Heat maps of converted and fine-tuned networks, and against Grad-CAM where that is the same thing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="no torch; it comes with the extra 'finetune'")
pytest.importorskip("timm", reason="no timm; it comes with the extra 'finetune'")

from tellapart import FinetuneOptions, OneCycle, Run, TrainOptions, finetune, train  # noqa: E402
from tellapart.finetuning.convert import as_backbone  # noqa: E402
from tellapart.finetuning.network import load_network  # noqa: E402
from tellapart.model.maps import open_maps  # noqa: E402
from tellapart.model.runtime import open_session  # noqa: E402
from tellapart.reporting.heat_maps import Explainer  # noqa: E402
from tellapart.training.probe import Probe  # noqa: E402

torch.set_num_threads(1)
DENSENET = (
    Path(__file__).parents[3] / "shared" / "weights" / "densenet169_imagenet_features.safetensors"
)
# Whether the final vector comes of places, and whether it is normalised after pooling.
FORMS = {
    "test_resnet": (True, False),
    "densenet121": (True, False),
    "convnext_atto": (True, True),
    "swin_tiny_patch4_window7_224": (True, False),
    "eva02_tiny_patch14_224": (True, True),
    "vit_tiny_patch16_224": (False, False),
    "mobilenetv3_small_050": (False, False),
}


class OneNetwork:
    """What an Explainer needs of a run: a network with random weights and a random probe."""

    classes = ("a", "b", "c")

    def __init__(self, backbone, generator, width=None):
        self._backbone = backbone
        self.preprocess = backbone.info.preprocess
        width = width or backbone.dimensions["all"]
        mean, std, weights, bias = (
            generator.normal(size=shape).astype(np.float32)
            for shape in (width, width, (width, 3), 3)
        )
        self.probe = Probe("all", mean, np.abs(std) + np.float32(0.5), weights, bias)

    def backbone(self):
        return self._backbone


def noise(side=300):
    return np.random.default_rng(3).integers(0, 256, (side, side + 40, 3), np.uint8)


@pytest.mark.parametrize("name", FORMS)
def test_the_parts_add_up_for_every_kind_of_network(name):
    torch.manual_seed(0)
    backbone = as_backbone(load_network(name, pretrained=False))
    rule = open_maps(backbone.graph).final
    assert (rule.pooled, rule.normed) == FORMS[name]
    explainer = Explainer(OneNetwork(backbone, np.random.default_rng(0)))
    for target in range(3):
        heat = explainer.explain(noise(), target)
        size = sum(float(np.abs(part).sum()) for part in heat.by_stage.parts.values())
        assert abs(heat.by_stage.total - heat.logit) < max(1e-4, 1e-6 * size)
        assert np.isfinite(heat.values).all()
    assert ("final" in heat.by_stage.parts) == rule.pooled


def test_naming_the_maps_costs_the_graph_nothing():
    torch.manual_seed(0)
    graph = as_backbone(load_network("test_resnet", pretrained=False)).graph
    assert set(open_session(graph).run(np.zeros((1, 3, 64, 64), np.float32))) == {"features"}


@pytest.fixture(scope="module")
def final_only():
    """A real network with trained weights, explained by its last map alone, and the same in torch."""
    if not DENSENET.exists():
        pytest.skip(f"{DENSENET} is not here")
    network = load_network("densenet169", DENSENET)
    backbone = as_backbone(network)
    run = OneNetwork(backbone, np.random.default_rng(1), backbone.dimensions["final"])

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network.model
            self.probe = run.probe

        def forward(self, pixels):
            x = self.network.forward_head(self.network.forward_features(pixels), pre_logits=True)
            x = (x - torch.from_numpy(self.probe.mean)) / torch.from_numpy(self.probe.std)
            return x @ torch.from_numpy(self.probe.weights) + torch.from_numpy(self.probe.bias)

    return Explainer(run), Classifier().eval(), network.model.features[-1]


def pictures():
    root = DENSENET.parents[1] / "data" / "art_style"
    return sorted((root / "test_set").rglob("*.*"))[::60]


def test_the_last_map_alone_is_grad_cam(final_only):
    """Against the library grad-cam. It keeps what speaks for the class, and scales it to [0, 1]."""
    library = pytest.importorskip("pytorch_grad_cam", reason="no grad-cam; pip install grad-cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from scipy.stats import spearmanr

    explainer, classifier, layer = final_only
    side = explainer._embedder.preprocess.size
    with library.GradCAM(model=classifier, target_layers=[layer]) as grad_cam:
        for path in pictures():
            heat = explainer.explain(path, 1)
            pixels = torch.from_numpy(explainer._embedder.preprocess.normalise(heat.picture))
            theirs = grad_cam(input_tensor=pixels, targets=[ClassifierOutputTarget(1)])[0]
            own = np.maximum(heat.by_stage.parts["final"] + offset(explainer, 1), 0)
            ours = np.asarray(
                Image.fromarray(own.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
            )  # fmt: skip
            assert spearmanr(ours.ravel(), theirs.ravel()).statistic >= 0.95


def offset(explainer, target):
    """What the map holds evenly: the mean that the probe takes away, which Grad-CAM does not know."""
    probe = explainer._probe
    return float((probe.mean / probe.std) @ probe.weights[:, target]) / 49


def test_fine_tuned_and_one_cycle_stages_are_explained(tiny_data, tiny_options, tmp_path):
    run = train(
        tiny_data, tmp_path / "run", TrainOptions(**tiny_options), recipe=OneCycle(epochs=1, head="hidden")
    )  # fmt: skip
    tuned = finetune(run, FinetuneOptions(epochs=1, lr="1e-3", batch=4))
    for each in (run, tuned, Run.load(tuned.folder)):
        heat = Explainer(each).explain(noise())
        assert abs(heat.values.sum(dtype=np.float64) + heat.rest - heat.logit) < 1e-4
