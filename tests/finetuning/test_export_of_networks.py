"""Exports of converted and of fine-tuned networks pass the gate on files of every kind, and need no torch."""

import pytest

torch = pytest.importorskip("torch", reason="no torch; it comes with the extra 'finetune'")
timm = pytest.importorskip("timm", reason="no timm; it comes with the extra 'finetune'")

from safetensors.torch import save_file  # noqa: E402

import tellapart  # noqa: E402
from tellapart import FinetuneOptions, TrainOptions, finetune, train  # noqa: E402

torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "vit_tiny_patch16_224"])
def test_a_converted_network_passes_the_gate(name, tiny_data, tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "random.safetensors"
    save_file(timm.create_model(name, num_classes=0).state_dict(), weights)
    run = train(tiny_data, tmp_path / "run", TrainOptions(backbone=name, weights=str(weights)))
    exported = tellapart.export(run, pictures=36)
    assert exported.file == tmp_path / "run" / "model.onnx"
    assert (exported.parity.n, exported.parity.kinds) == (36, 14)
    assert exported.parity.largest < 0.01
    assert tellapart.load(exported.file).facts["backbone"]["name"] == name


def test_a_fine_tuned_stage_passes_the_gate_and_answers_by_its_own_network(
    tiny_data, tiny_options, tmp_path
):
    run = train(tiny_data, tmp_path / "run", TrainOptions(**tiny_options))
    stage = finetune(run, FinetuneOptions(epochs=1, lr="1e-2"), workers=0)
    exported = tellapart.export(stage, pictures=36)
    assert exported.file.parent == stage.folder
    of_file = tellapart.load(exported.file)
    answers = {row[0]: [float(p) for p in row[4:]] for row in stage.predictions()}
    for path, expected in answers.items():
        found = of_file.predict(tiny_data / path)
        assert found.probabilities == pytest.approx(expected, abs=0.01)
    before = {row[0]: [float(p) for p in row[4:]] for row in run.predictions()}
    assert any(answers[path] != pytest.approx(before[path], abs=0.01) for path in answers)
