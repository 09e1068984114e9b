"""A run becomes a file: the same answers, nothing of the user's harmed, the step named where they part."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image

import tellapart
from tellapart.errors import DatasetError, ModelError, ParityError, RunError, UsageError
from tellapart.model.preprocess import PreprocessSpec
from tellapart.ship import export as exporting
from tellapart.ship.exported import ModelFile
from tellapart.ship.gate import check_parity
from tellapart.ship.model_bytes import check_seal, metadata_of
from tellapart.ship.picture_kinds import KINDS, as_kind
from tellapart.ship.training_side import TrainingSide
from tellapart.training.run import Run
from tellapart.training.run_pictures import run_pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three classes of shapes in noise, with a validation part."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", 14), ("valid", 8)):
        for label, low in (("dark", 0), ("light <b>", 130), ("stripes", 60)):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(low, low + 110, (90 + 7 * i, 130 - 3 * i, 3)).astype(np.uint8)
                if label == "stripes":
                    pixels[:: 8 + i] = 250
                Image.fromarray(pixels).save(root / split / label / f"{i}.png")
    return tellapart.train(root, tmp_path_factory.mktemp("runs") / "shapes")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return exporting.export(run, folder / "shapes.onnx", batch=folder / "many.onnx", pictures=48)


def test_every_kind_of_file_gets_the_answer_of_the_run(run, exported):
    picture = Image.effect_noise((201, 143), 90).convert("RGB")
    files = {kind: as_kind(picture, kind, turn) for turn, kind in enumerate(KINDS)}
    of_run, of_file = tellapart.load(run.folder), tellapart.load(exported.file)
    assert of_file.classes == ("dark", "light <b>", "stripes")
    assert of_file.rule == of_run.rule
    for kind, content in files.items():
        expected, found = of_run.predict(content), of_file.predict(content)
        assert found.error is expected.error is None, kind
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.01)
        assert found.label == expected.label
        assert found.novelty == pytest.approx(expected.novelty, abs=0.05, rel=0.02)
        assert found.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_what_is_said_of_the_export_is_true(exported):
    assert exported.parity.n == 48
    assert exported.parity.kinds == 14
    assert exported.parity.left_out == 0
    assert exported.parity.largest < 0.01
    assert exported.bytes == exported.file.stat().st_size
    assert (
        "48 files of 14 kinds, made of held-out pictures, get the same answer"
        in exported.sentence()
    )
    json.dumps(exported.to_json())


def test_the_file_is_standard_onnx_and_says_what_it_is(run, exported):
    model = onnx.load(exported.file)
    onnx.checker.check_model(model, full_check=True)
    assert [opset.domain for opset in model.opset_import] == [""]
    assert model.opset_import[0].version >= 18
    assert not model.functions
    (taken,) = model.graph.input
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    facts = json.loads(ModelFile.open(exported.file).metadata["tellapart"])
    assert facts["classes"] == list(run.classes)
    assert facts["backbone"]["licence"] == "Apache-2.0"
    assert facts["dataset"]["fingerprint"] == run.info["dataset"]["fingerprint"]
    valid = facts["metrics"]["valid"]
    assert valid["accuracy_low"] <= valid["accuracy"] <= valid["accuracy_high"]
    assert str(run.folder) not in exported.file.read_bytes().decode("latin-1")
    assert str(run.info["dataset"]["root"]) not in exported.file.read_bytes().decode("latin-1")


def test_the_same_run_gives_the_same_bytes(run, exported, tmp_path):
    again = exporting.export(run, tmp_path / "shapes.onnx", pictures=2)
    assert again.file.read_bytes() == exported.file.read_bytes()


def test_the_batch_variant_answers_prepared_pictures_together(run, exported):
    session = onnxruntime.InferenceSession(exported.batch)
    pictures = [Image.effect_noise((100 + 30 * i, 120), 70).convert("RGB") for i in range(3)]
    pixels = np.concatenate([run.preprocess.apply(picture) for picture in pictures])
    found = dict(
        zip(
            ["probabilities", "novelty"],
            session.run(["probabilities", "novelty"], {"pixels": pixels}),
            strict=True,
        )
    )
    for i, picture in enumerate(pictures):
        expected = tellapart.load(run.folder).predict(picture)
        np.testing.assert_allclose(found["probabilities"][i], expected.probabilities, atol=0.01)
        assert found["novelty"][i] == pytest.approx(expected.novelty, abs=0.05, rel=0.02)


@pytest.mark.parametrize("fit", ["pad", "squish"])
def test_every_fit_and_a_run_without_a_validation_part(fit, run, tmp_path):
    data = tmp_path / "data"
    for label, low in (("dark", 0), ("light", 150)):
        (data / label).mkdir(parents=True)
        for i in range(6):
            pixels = np.random.default_rng(i).integers(low, low + 90, (50, 90 + i, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(data / label / f"{i}.png")
    options = tellapart.TrainOptions(fit=fit, valid=0)
    small = tellapart.train(data, tmp_path / "run", options)
    parity = exporting.export(small, pictures=26).parity
    assert (parity.n, parity.swapped) == (26, 0)


# What the gate says of each step, broken on purpose.


def broken_decode(monkeypatch, content):
    """The file's side forgets the orientation and the transparency, as other tools do."""
    from io import BytesIO

    def naive(self, content, name):
        return Image.open(BytesIO(content)).convert("RGB")

    monkeypatch.setattr(ModelFile, "picture", naive)
    return content


def edited(content, change):
    """The exported file after a change of its graph, sealed anew."""
    from tellapart.ship.exported_graph import sealed

    model = onnx.ModelProto.FromString(content)
    metadata = {p.key: p.value for p in model.metadata_props if p.key != "tellapart_sha256"}
    change(model)
    return sealed(model, metadata)


def broken_resize(monkeypatch, content):
    def change(model):
        (node,) = (node for node in model.graph.node if node.op_type == "Resize")
        for attribute in node.attribute:
            if attribute.name in ("antialias", "exclude_outside"):
                attribute.i = 0
            if attribute.name == "mode":
                attribute.s = b"nearest"

    return edited(content, change)


def scaled_constant(model, wanted, factor):
    for tensor in model.graph.initializer:
        if wanted(tensor):
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(
                numpy_helper.from_array((values * factor).astype(np.float32), tensor.name)
            )


def broken_network(monkeypatch, content):
    return edited(
        content, lambda model: scaled_constant(model, lambda t: t.name == "_conv_head.weight", 1.3)
    )


def broken_calibration(monkeypatch, content):
    """Another temperature, by the last matrix."""

    def change(model):
        softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
        gemm = next(node for node in model.graph.node if softmax.input[0] in node.output)
        scaled_constant(model, lambda t: t.name in gemm.input[1:], 0.4)

    return edited(content, change)


BROKEN = {
    "decode": broken_decode,
    "resize": broken_resize,
    "network": broken_network,
    "calibration": broken_calibration,
}


@pytest.mark.parametrize("step", BROKEN)
def test_the_gate_names_the_step_that_is_broken(step, run, exported, monkeypatch):
    content = BROKEN[step](monkeypatch, exported.file.read_bytes())
    with pytest.raises(ParityError, match=f"part at the step {step}") as caught:
        check_parity(run_pictures(run), TrainingSide(run), ModelFile(content), count=60)
    assert caught.value.step == step
    assert "valid" in caught.value.picture
    assert "differs by" in str(caught.value)


@pytest.mark.parametrize("step", BROKEN)
def test_verify_names_the_step_on_a_machine_without_the_run(step, exported, monkeypatch, tmp_path):
    file = tmp_path / "broken.onnx"
    file.write_bytes(BROKEN[step](monkeypatch, exported.file.read_bytes()))
    with pytest.raises(ParityError) as caught:
        tellapart.verify_export(file)
    assert caught.value.step == step
    assert "the drawing as" in caught.value.picture


def test_verify_passes_what_is_whole(run, exported):
    assert tellapart.verify_export(exported.file).n == len(KINDS)
    assert tellapart.verify_export(exported.file, run, pictures=12).kinds == 12


def test_nothing_is_written_where_the_answers_part(run, tmp_path, monkeypatch):
    broken_decode(monkeypatch, b"")
    with pytest.raises(ParityError):
        exporting.export(run, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_users_is_never_replaced(run, tmp_path):
    mine = tmp_path / "model.onnx"
    mine.write_bytes(b"my thesis")
    with pytest.raises(UsageError, match="no model that tellapart has exported"):
        exporting.export(run, mine)
    assert mine.read_bytes() == b"my thesis"


def test_an_export_replaces_an_earlier_one(run, exported, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(exported.file.read_bytes())
    assert exporting.export(run, file, pictures=2).file == file


def test_pictures_that_are_gone_are_said_to_be(run, tmp_path):
    info = {**run.info, "dataset": {**run.info["dataset"], "root": str(tmp_path / "gone")}}
    with pytest.raises(DatasetError, match="not there any more"):
        exporting.export(replace(run, info=info), tmp_path / "model.onnx")


def test_a_run_whose_pictures_are_all_broken_cannot_be_compared(run, tmp_path):
    dataset = run_pictures(run)
    for path in dataset.paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"no picture")
    info = {**run.info, "dataset": {**run.info["dataset"], "root": str(tmp_path)}}
    with pytest.raises(DatasetError, match="only 0 can be used"):
        exporting.export(replace(run, info=info), tmp_path / "model.onnx")


def test_an_interpolation_that_no_graph_has_is_refused(run, tmp_path):
    spec = PreprocessSpec.from_json({**run.info["preprocess"], "interpolation": "lanczos"})
    with pytest.raises(ModelError, match="lanczos"):
        exporting.export(
            replace(run, info={**run.info, "preprocess": spec.to_json()}), tmp_path / "model.onnx"
        )


@pytest.mark.parametrize("options", [{"max_loss": 1.0}, {"max_loss": -0.1}, {"pictures": 0}])
def test_options_that_make_no_sense(options, run, tmp_path):
    with pytest.raises(UsageError, match="expected"):
        exporting.export(run, tmp_path / "model.onnx", **options)


def test_a_runtime_without_a_page_is_wrong_use(run, tmp_path):
    with pytest.raises(UsageError, match="--web"):
        exporting.export(run, tmp_path / "model.onnx", runtime=tmp_path)


def test_the_card_shows_figures_with_intervals_and_names_as_text(run, exported):
    card = exported.card.read_text("utf-8")
    assert exported.card.name == "shapes.md"
    valid = run.metrics["valid"]
    assert f"| validation | {valid.n} | {valid.errors} |" in card
    assert r"light \<b\>" in card
    assert "<b>" not in card.replace(r"\<b\>", "")
    assert "Apache" in card
    assert str(run.folder) not in card


# Places.


@pytest.mark.parametrize(
    ("out", "batch"),
    [("m.md", None), ("m.onnx", "m.onnx"), ("m.onnx", "m.md"), ("a/../m.onnx", "m.onnx")],
)
def test_two_files_never_take_one_place(out, batch, run, tmp_path):
    batch = None if batch is None else tmp_path / batch
    if out == "m.md":
        assert exporting.export(run, tmp_path / out, pictures=2).card == tmp_path / "m.md.md"
        return
    with pytest.raises(UsageError, match="different names"):
        exporting.export(run, tmp_path / out, batch=batch)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "mine", ["photos.md", "photos.onnx", "many.onnx", "page/index.html", "page/model.onnx"]
)
def test_nothing_of_the_users_is_replaced_and_nothing_is_computed_first(
    mine, run, tmp_path, monkeypatch
):
    monkeypatch.setattr(exporting, "TrainingSide", lambda *a: pytest.fail("computed"))
    (tmp_path / "page").mkdir()
    (tmp_path / mine).write_bytes(b"my notes")
    with pytest.raises(UsageError, match="is there already"):
        exporting.export(
            run, tmp_path / "photos.onnx", batch=tmp_path / "many.onnx", web=tmp_path / "page"
        )
    assert (tmp_path / mine).read_bytes() == b"my notes"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(mine).name]


def test_a_pipe_a_folder_and_a_file_in_the_way_are_refused(run, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"x")
    for out in (tmp_path / "pipe", tmp_path, tmp_path / "file" / "model.onnx"):
        with pytest.raises(UsageError):
            exporting.export(run, out)


def test_a_full_disk_is_said_with_the_file_it_is_about(run, tmp_path, monkeypatch):
    def write(path, content):
        if path.suffix == ".md":
            raise OSError(28, "No space left on device", ".aside.1234")
        path.write_bytes(content)

    monkeypatch.setattr(exporting, "write_atomically", write)
    with pytest.raises(
        RunError, match=r"model\.md cannot be written: No space.*model\.onnx is written"
    ):
        exporting.export(run, tmp_path / "model.onnx", pictures=2)


# What the comparison says of itself.


def test_pictures_that_are_gone_are_counted_and_too_few_are_an_error(run, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(run.info["dataset"]["root"], root)
    info = {**run.info, "dataset": {**run.info["dataset"], "root": str(root)}}
    moved = replace(run, info=info)
    held_out = sorted((root / "valid").rglob("*.png"))
    for path in held_out[:8]:
        path.unlink()
    parity = exporting.export(moved, tmp_path / "model.onnx", pictures=24).parity
    assert (parity.n, parity.left_out) == (16, 8)
    assert "8 more could not be used" in parity.sentence()
    for path in held_out[8:20]:
        path.unlink()
    with pytest.raises(DatasetError, match="of 24 files only 4"):
        exporting.export(moved, tmp_path / "model.onnx", pictures=24)


def test_no_file_is_compared_twice(run):
    from tellapart.ship.gate import _files

    for count in (1, 24, 100, 10_000):
        files = [(row, kind) for row, kind, _ in _files(list(range(24)), count)]
        assert len(set(files)) == len(files) == min(count, 24 * 14)


def test_a_network_that_gives_no_numbers_is_the_networks_fault(run, exported):
    content = edited(
        exported.file.read_bytes(),
        lambda model: scaled_constant(model, lambda t: t.name == "_conv_head.weight", np.nan),
    )
    with pytest.raises(ParityError) as caught:
        check_parity(run_pictures(run), TrainingSide(run), ModelFile(content), count=4)
    assert caught.value.step == "network"


@pytest.mark.parametrize("what", ["classes", "rule", "dataset"])
def test_verify_with_a_run_finds_a_file_that_says_other_things(what, run, exported, tmp_path):
    model = onnx.ModelProto.FromString(exported.file.read_bytes())
    metadata = {p.key: p.value for p in model.metadata_props if p.key != "tellapart_sha256"}
    facts = json.loads(metadata["tellapart"])
    facts["classes"].reverse() if what == "classes" else facts[what].update(sure_from=0.01)
    from tellapart.ship.exported_graph import sealed

    file = tmp_path / "other.onnx"
    file.write_bytes(sealed(model, {**metadata, "tellapart": json.dumps(facts)}))
    with pytest.raises(UsageError, match=f"its {what} differ"):
        tellapart.verify_export(file, run)


def test_the_batch_variant_is_told_from_the_model(exported):
    with pytest.raises(ModelError, match="prepared pictures"):
        tellapart.load(exported.batch)


def test_tall_pictures_get_the_same_answer(run, exported):
    of_run, of_file = tellapart.load(run.folder), tellapart.load(exported.file)
    rng = np.random.default_rng(0)
    for size in ((1000, 400), (1300, 300), (400, 1000), (163, 254)):
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        expected, found = of_run.predict(pixels), of_file.predict(pixels)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.005)


def test_the_bits_of_an_answer_do_not_depend_on_the_threads(exported):
    predictor = tellapart.load(exported.file)
    picture = Image.effect_noise((300, 200), 80).convert("RGB")
    alone, beside = predictor.predict(picture), predictor.predict_beside(picture)
    np.testing.assert_array_equal(alone.probabilities, beside.probabilities)
    assert alone.novelty == beside.novelty


def test_lists_are_answered_and_a_single_path_is_not_taken_for_many(exported, tmp_path):
    predictor = tellapart.load(exported.file)
    path = tmp_path / "a.png"
    Image.effect_noise((50, 40), 60).convert("RGB").save(path)
    one, two = predictor.predict([path, b"no picture"])
    assert one.label == predictor.predict(path).label
    assert two.error is not None
    with pytest.raises(UsageError, match="several"):
        predictor.predict_many(str(path))


# Files from elsewhere.


def test_a_changed_byte_is_found(exported):
    content = bytearray(exported.file.read_bytes())
    for place in (100, len(content) // 2, len(content) - 3):
        changed = content.copy()
        changed[place] ^= 1
        with pytest.raises(ModelError):
            ModelFile(bytes(changed), "changed.onnx")


@pytest.mark.parametrize("length", [0, 1, 1000, -1, -5000])
def test_a_cut_file_is_found(length, exported):
    content = exported.file.read_bytes()
    with pytest.raises(ModelError, match=r"cut|changed or damaged"):
        check_seal(content[:length], "cut.onnx")


def hostile(content, change):
    return edited(content, change)


def with_domain(model):
    model.graph.node[0].domain = "com.example.evil"


def with_loop(model):
    model.graph.node.add(op_type="Loop")


def with_graph_inside(model):
    node = model.graph.node.add(op_type="Relu")
    attribute = node.attribute.add(name="body", type=onnx.AttributeProto.GRAPH)
    attribute.g.name = "body"


def with_function(model):
    model.functions.add(name="f", domain="local")


def with_data_elsewhere(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def with_constant_elsewhere(model):
    node = model.graph.node.add(op_type="Constant")
    attribute = node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR)
    attribute.t.external_data.add(key="location", value="../secret")


def with_sparse_data_elsewhere(model):
    sparse = model.graph.sparse_initializer.add(dims=[4])
    sparse.values.external_data.add(key="location", value="secret")


def with_sparse_constant(model):
    node = model.graph.node.add(op_type="Constant")
    attribute = node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.values.external_data.add(key="location", value="secret")


def with_training(model):
    model.training_info.add()


def with_other_operators(model):
    model.opset_import.add(domain="com.microsoft", version=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_sparse_data_elsewhere, "no exported model does"),
        (with_sparse_constant, "no exported model does"),
        (with_training, "no exported model does"),
        (with_domain, "not standard ones"),
        (with_loop, "Loop is not allowed"),
        (with_graph_inside, "no exported model does"),
        (with_function, "no exported model does"),
        (with_data_elsewhere, "another file"),
        (with_constant_elsewhere, "another file"),
        (with_other_operators, "not standard ones"),
    ],
)
def test_a_graph_that_could_do_more_than_compute_is_refused_before_it_runs(
    change, reason, exported, monkeypatch
):
    content = hostile(exported.file.read_bytes(), change)
    monkeypatch.setattr("tellapart.ship.exported.open_session", lambda *a, **k: pytest.fail("ran"))
    with pytest.raises(ModelError, match=reason):
        ModelFile(content, "hostile.onnx")


@pytest.mark.parametrize(
    "facts",
    [
        "", "[]", "{}", "null", "{", '{"format": 2}',
        '{"format": 1, "classes": "ab", "preprocess": {}, "rule": {}}',
        '{"format": 1, "classes": [], "preprocess": {"size": 224}, "rule": {}}',
        '{"format": 1, "classes": ["a"], "preprocess": {"size": 1e9}, "rule": {}}',
        '{"format": 1, "classes": ["a"], "preprocess": {"size": 224}, "rule": {"sure_from": "x"}}',
        '{"format": 1, "classes": ["a"], "preprocess": {"size": 224}, "rule": {"evil": 1}}',
        '{"format": 1, "classes": ["a"], "preprocess": {"size": 224}, "rule": {"sure_from": null}}',
        '{"format": 1, "classes": ["a", "a"], "preprocess": {"size": 224}, "rule": {}}',
        '{"format": 1, "classes": ["a"], "preprocess": {"size": 224}, "rule": {"sure_from": 1' + 400 * "0" + "}}",  # noqa: E501
        '{"format": 1, "classes": ["a"], "preprocess": {"size": 224, "mean": ["a", "b", "c"]}, "rule": {}}',
        '{"format": 1, "classes": ["a"], "preprocess": {"size": 224}, "rule": {}, "precision": "int3"}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_file_that_says_nonsense_of_itself_is_refused(facts, exported):
    model = onnx.ModelProto.FromString(exported.file.read_bytes())
    from tellapart.ship.exported_graph import sealed

    with pytest.raises(ModelError, match=r"Export it again|cannot be used|is refused"):
        ModelFile(sealed(model, {"tellapart": facts}), "odd.onnx")


def test_the_walk_over_random_bytes_is_an_error_and_no_hang():
    rng = np.random.default_rng(0)
    for length in (1, 7, 64, 4096):
        for _ in range(200):
            try:
                found = metadata_of(rng.bytes(length), "noise")
            except ModelError:
                continue
            assert not found


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ModelError, match="tellapart export"):
        ModelFile.open(tmp_path / "none.onnx")


def test_another_target_error_can_be_chosen_of_a_file_too(run, exported):
    of_run = of_file = None
    for target in (0.02, 0.05, 0.2, 0.4):
        try:
            of_run = tellapart.load(run.folder, target_error=target).rule
        except UsageError:
            with pytest.raises(UsageError, match=r"pictures cannot promise|no threshold"):
                tellapart.load(exported.file, target_error=target)
            continue
        of_file = tellapart.load(exported.file, target_error=target).rule
        assert of_file == of_run
    assert of_file is not None, "no target could be promised: the test shows nothing"


def test_too_many_pixels_are_refused_before_they_are_decoded(exported):
    predictor = tellapart.load(exported.file, most_pixels=10_000)
    assert predictor.predict(Image.new("RGB", (100, 100))).error is None
    assert "too many pixels" in predictor.predict(Image.new("RGB", (101, 100))).error
    assert (
        "too many pixels" in predictor.predict(as_kind(Image.new("RGB", (101, 100)), "PNG")).error
    )


def test_a_finished_run_is_left_as_it_was(run, exported):
    assert json.dumps(Run.load(run.folder).info) == json.dumps(run.info)
    assert "model.onnx" not in {path.name for path in run.folder.iterdir()}


def test_a_base_install_is_enough_to_predict(run, exported, tmp_path):
    """Blocking imports stands for an installation without them."""
    picture = tmp_path / "ünï .png"
    Image.effect_noise((90, 70), 80).convert("RGB").save(picture)
    code = """
import sys
extras = "torch timm onnx pandas sklearn scipy safetensors matplotlib jinja2 fastapi aiohttp threadpoolctl"
for name in extras.split(): sys.modules[name] = None
from tellapart.cli.main import main
sys.argv = ["tellapart", "predict", *sys.argv[1:], "--json"]
main()"""
    done = subprocess.run(
        [sys.executable, "-c", code, exported.file, picture, tmp_path / "none.jpg"],
        capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    expected = tellapart.load(run.folder).predict(picture)
    assert first["label"] == expected.label
    assert first["verdict"] == expected.verdict
    assert "missing" in second["error"]
    assert list(tmp_path.iterdir()) == [picture]
