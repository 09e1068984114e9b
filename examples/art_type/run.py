"""Five kinds of art, trained in three stages, and a few new pictures.

Without FOLDER the pictures are the gallery, which is drawn first.
"""

# %% [markdown]
# # Types of art in three stages
#
# A frozen network with a new head, then two stages of fine-tuning with lower and lower rates. Without a
# folder of your own, the gallery is drawn. Every figure comes with its count and its 95 % interval.

# %%
import argparse
from pathlib import Path

import tellapart
from tellapart.ship.prediction import SURE_FROM

# %% arguments
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "folder", nargs="?", type=Path, default=None, help="with training and validation folders"
)
parser.add_argument("--out", type=Path, default=Path("runs/art_type"), help="where all goes")
parser.add_argument(
    "--pictures", type=int, default=None, help="to train on, of each kind; 120 are drawn"
)
parser.add_argument("--epochs", type=int, default=4, help="of the frozen network")
parser.add_argument(
    "--quick", action="store_true", default=False, help="unfreeze the last layers, sweep 20 rates"
)
args = parser.parse_args()

# %% [markdown]
# ## The data
#
# Training and validation pictures are in folders of their own, and stay so. New pictures for the end
# come from a test folder, or from the validation folder where there is none; of the gallery some more
# are drawn.

# %%
folder, new = args.folder, None
if folder is None:
    per_class = args.pictures or 120
    folder = args.out / f"gallery-{per_class}"
    tellapart.draw_gallery(folder, per_class=per_class, valid=0.2)
    tellapart.draw_gallery(args.out / "new", per_class=2, seed=1)
    new = tellapart.open_dataset(args.out / "new")

data = tellapart.open_dataset(folder)
if not data.is_split:
    data = data.with_split(0.2)
if new is None:
    held_out = "test" if len(data.rows_of("test")) else "valid"
    rows = data.table[data.table["split"] == held_out].groupby("label").head(2)
    new = tellapart.Dataset.from_rows(data.root, rows.to_dict("records"))
if args.pictures:
    place = data.table.groupby(["label", "split"]).cumcount()
    rows = data.table[(data.table["split"] != "train") | (place < args.pictures)]
    data = tellapart.Dataset.from_rows(data.root, rows.to_dict("records"))
print(data.counts())

# %% [markdown]
# ## Stage 1: the head
#
# Pictures are turned, zoomed and lit differently, but never mirrored.

# %%
learn = tellapart.Learner(
    data, metric="accuracy", size=200, transforms=tellapart.Transforms(do_flip=False),
    out=args.out / "run", overwrite=True,
)  # fmt: skip
learn.fit_one_cycle(args.epochs)
stage_1 = learn.save("stage-1")
print(learn.validate().sentence())

# %% [markdown]
# ## Stage 2: the whole network
#
# First look for a rate. `lr_find` says what it saw, and suggests nothing where there is nothing to see.

# %%
layers, sweep = ("last", {"steps": 20, "restarts": 1}) if args.quick else ("all", {})
learn.unfreeze(layers)
learn.lr_find(**sweep)
figure = learn.recorder.plot()
figure.savefig(args.out / "lr_find-1.png")

# %%
learn.fit_one_cycle(2, lr=slice(1e-5, 1e-4))
learn.save("stage-2")
print(learn.validate().sentence())

# %% [markdown]
# ## Stage 3: lower rates

# %%
learn.unfreeze(layers)
learn.lr_find(**sweep)
figure = learn.recorder.plot()
figure.savefig(args.out / "lr_find-2.png")

# %%
learn.fit_one_cycle(2, lr=slice(1e-6, 1e-5))
stage_3 = learn.save("stage-3")
print(learn.validate().sentence())

# %% [markdown]
# ## What came of it
#
# Each stage was compared with the one before. Here stage 3 is compared with stage 1, on the pictures
# that neither was trained on.


# %%

for name in stage_3.metrics:
    print(f"{name}: stage-1 {stage_1.metrics[name].sentence()}")
    print(f"{name}: stage-3 {stage_3.metrics[name].sentence()}")
print(f"From stage-1 to stage-3: {tellapart.compare(stage_1, stage_3).sentence()}")

# %% [markdown]
# One page holds all of it, with what it confuses and what it looked at: a page to send to a colleague.

# %%
report = tellapart.report(stage_3, args.out / "report.html")
print(report.verdict.headline)

# %%
interp = tellapart.Interpretation.from_learner(learn)
print(interp.most_confused()[:5])
figure = interp.plot_confusion_matrix()
figure.savefig(args.out / "confusion.png")

# %% [markdown]
# ## New pictures
#
# An answer whose probability is below 0.7 is `not_sure`. How often are such answers wrong?

# %% [markdown]
# They are answered by the exported file, on a computer without torch as well; the folder `page` answers on a
# phone, in its browser.

# %%
learn.load("stage-3")
exported = learn.export(args.out / "model.onnx", web=args.out / "page")
print(exported.sentence())
print(f"A page for the phone: {exported.web}")

# %%
model = tellapart.load(exported.file)
for path, label in zip(new.paths, new.labels, strict=True):
    answer = model.predict(new.root / path)
    category, index, probabilities = answer
    said = f"{category} with {probabilities.max():.4f}, {answer.verdict}"
    print(f"{path}, of {label}: {answer.error or said}")

# %%
probabilities, targets = learn.get_preds()
sure = probabilities.max(axis=1) >= SURE_FROM
for name, part in (("sure", sure), ("not_sure", ~sure)):
    if part.any():
        found = tellapart.evaluate(probabilities[part], targets[part], learn.run.classes)
        print(f"{name}: {found.sentence()}")
