"""Two kinds of pictures, from lists of links to a classifier that names new ones.

Without FOLDER the pictures are two kinds of the gallery, which is drawn first.
"""

# %% [markdown]
# # Anime or cartoon: from links to a model
#
# Without a folder of your own, two kinds of the gallery stand for anime and cartoons. Every figure comes
# with its count and its 95 % interval.

# %%
import argparse
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pandas as pd

import tellapart

# %% arguments
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "folder", nargs="?", type=Path, default=None, help="your pictures, a folder for each kind"
)
parser.add_argument(
    "--out", type=Path, default=Path("runs/anime_or_cartoon"), help="where all goes"
)
parser.add_argument("--pictures", type=int, default=None, help="of each kind; 120 are drawn")
parser.add_argument("--epochs", type=int, default=4, help="of the frozen network")
parser.add_argument(
    "--quick", action="store_true", default=False, help="unfreeze the last layers, sweep 20 rates"
)
parser.add_argument("--port", type=int, default=8765, help="of the server; 0 takes a free one")
args = parser.parse_args()

# %% [markdown]
# ## 1. Gather
#
# A small server on this machine stands for the web. One list of links is written for each kind. The last
# picture of each kind is in no list: it is the new one that is named at the end. With links of your own,
# give `gather` your lists and leave out the server and `allow_private`.

# %%
source, kinds = args.folder, None
if source is None:
    per_class = args.pictures or 120
    source, kinds = args.out / f"gallery-{per_class}", ["drawings", "sculpture"]
    tellapart.draw_gallery(source, per_class=per_class)
kinds = kinds or sorted(p.name for p in source.iterdir() if p.is_dir() and p.name[0] != ".")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", args.port), partial(Quiet, directory=source))
Thread(target=server.serve_forever, daemon=True).start()

args.out.mkdir(parents=True, exist_ok=True)
lists, new = {}, []
for kind in kinds:
    *files, last = sorted((source / kind).iterdir())[: args.pictures]
    new.append(last)
    web = f"http://127.0.0.1:{server.server_port}/"
    lists[kind] = args.out / f"urls_{kind}.csv"
    lists[kind].write_text("\n".join(web + quote(f"{kind}/{file.name}") for file in files))

pictures = args.out / "pictures"
dataset, receipt = tellapart.gather(lists, pictures, max_size=500, allow_private=True)
server.shutdown()
server.server_close()
print({kind: dict(counts) for kind, counts in receipt.counts.items()})
for reason, n, example in receipt.reasons:
    print(f"lost: {n} × {reason}, for instance {example}")

# %% [markdown]
# What came was checked on the way. `verify` does the same for pictures on disk, at any time.

# %%
dataset, receipt = tellapart.verify(pictures)
print(f"{len(receipt.stored)} pictures are good, {len(receipt.lost)} are not.")

# %% [markdown]
# ## 2. The data
#
# A fifth is set aside for validation; copies of a picture are never on both sides.

# %%
data = dataset.with_split(0.2, seed=2)
print(data.counts())
figure = data.show_batch(rows=3)
figure.savefig(args.out / "pictures.png")

# %% [markdown]
# ## 3. Train
#
# The network stays as it is, and a head learns to tell its features apart.

# %%
learn = tellapart.Learner(data, metric="error_rate", out=args.out / "run", overwrite=True)
learn.fit_one_cycle(args.epochs)
learn.save("stage-1")
print(learn.validate().sentence())

# %% [markdown]
# ## 4. Look at the mistakes

# %%
interp = tellapart.Interpretation.from_learner(learn, split="valid")
classes = list(interp.classes)
print(pd.DataFrame(interp.confusion_matrix(), index=classes, columns=classes).rename_axis("actual"))

# %% [markdown]
# The validation pictures with the highest loss. The loss is −ln of the probability that the right
# kind got. Files are named after their content, so the links are shown. Orange is what speaks for the
# predicted kind, blue what speaks against it.

# %%
links = dict(zip(data.paths, data.table["source_url"], strict=True))
for loss, row in zip(*interp.top_losses(6), strict=True):
    label, predicted = classes[interp.targets[row]], classes[interp.predicted[row]]
    print(f"loss {loss:.3f}  {links[interp.paths[row]]}  labelled {label}, predicted {predicted}")
figure = interp.plot_top_losses(9, heatmap=True)
figure.savefig(args.out / "top_losses.png")

# %% [markdown]
# ## 5. Clean
#
# `tellapart clean` opens a page on which you look through the suspects; here a script decides for you, and
# removes the training pictures whose label looks wrong to a model that has not seen them. Those of the
# validation part stay: a test without its hard questions would flatter. No file is touched: the decisions
# go to a journal, and `apply_decisions` writes them into `cleaned.csv`.

# %%
with tellapart.Review.open(learn.run) as review:
    first = [row for (row,) in review.queue("label_errors")["items"]]
    suspects = [review.details(row, "label_errors") for row in first[:20]]
    for suspect in suspects:
        link = links[review.subject.paths[suspect["id"]]]
        print(f"suspected, {suspect['split']}: {link}  {suspect['why']}")
    removed = [{"id": s["id"], "action": "remove"} for s in suspects if s["split"] == "train"]
    if removed:
        review.decide(removed, who="a script", queue="label_errors")
table = tellapart.apply_decisions(learn.run, args.out / "cleaned.csv")
print(table.sentence())

# %% [markdown]
# Train again from the CSV, and compare on the same validation pictures. Nobody has looked at the suspects
# here, so the steps below go on with all pictures.

# %%
cleaned = tellapart.Learner(table.file, out=args.out / "run-cleaned", overwrite=True)
cleaned.fit_one_cycle(args.epochs)
print(f"Cleaned: {cleaned.validate().sentence()}")
print(f"All to cleaned: {tellapart.compare(learn.stage, cleaned.stage).sentence()}")

# %% [markdown]
# ## 6. Fine-tune
#
# Now the network learns too. `lr_find` tries rates from low to high and says what it saw.

# %%
layers, sweep = ("last", {"steps": 20, "restarts": 1}) if args.quick else ("all", {})
learn.unfreeze(layers)
learn.fit_one_cycle(1)
suggestions = learn.lr_find(**sweep)
figure = learn.recorder.plot()
figure.savefig(args.out / "lr_find.png")

# %%
learn.unfreeze(layers)
learn.fit_one_cycle(2, lr=slice(1e-6, 1e-4))
tuned = learn.stage
print(f"Fine-tuned: {learn.validate().sentence()}")

# %% [markdown]
# Back to the stage before the fine-tuning.

# %%
learn.load("stage-1")
print(f"stage-1: {learn.validate().sentence()}")

# %% [markdown]
# ## 7. Use it
#
# The exported file holds all that is needed, and gives the same answer everywhere: pictures that take no part
# in the training are answered by it. Nothing of torch is needed for that.

# %%
exported = learn.export(args.out / "model.onnx", web=args.out / "page")
print(exported.sentence())
model = tellapart.load(exported.file)
for file in new:
    answer = model.predict(file)
    category, index, probabilities = answer
    said = f"{category} with {probabilities.max():.4f}, {answer.verdict}"
    print(f"{file.name}, of {file.parent.name}: {answer.error or said}")

# %% [markdown]
# The folder `page` is the app: put it on any host of files, and open it on a phone. What is photographed
# there stays there. To look at it here: `python -m http.server --bind 127.0.0.1 -d` and the folder.

# %%
print(f"A page for the phone: {exported.web}")

# %% [markdown]
# ## Three questions
#
# **Why does the error rate stand still?** It counts whole pictures, and there are few.

# %%
history = learn.recorder.fits[0].history
print(
    f"One of {history[0].n} validation pictures is {100 / history[0].n:.2g} %: the error rate moves in "
    f"such steps. Wrong after each epoch: {', '.join(str(row.errors) for row in history)}. The validation "
    f"loss went from {history[0].valid_loss:.3f} to {history[-1].valid_loss:.3f}."
)

# %% [markdown]
# **How is the plot of loss against rate to be read?** On the left the rate is too low to change anything,
# on the right so high that the loss explodes; good rates lie where the loss falls. Where it does
# not fall, there is no good rate, and none is suggested.

# %%
print(suggestions.sentence())

# %% [markdown]
# **Are these pictures enough?** Each training picture was asked about by a model that had not seen it,
# which counts far more pictures than the validation part has. The same with half of the pictures
# tells what more pictures do.

# %%
train = data.table["split"] == "train"
every_second = data.table.groupby(["label", "split"]).cumcount() % 2 == 0
half = data.table[~train | every_second].to_dict("records")
few = tellapart.train(
    tellapart.Dataset.from_rows(pictures, half), args.out / "run-half", overwrite=True
)
print(f"Cross-validated, all pictures: {learn.run.metrics['out_of_fold'].sentence()}")
print(f"Cross-validated, half of them: {few.metrics['out_of_fold'].sentence()}")
print(f"From half to all: {tellapart.compare(few, learn.run).sentence()}")
print(f"From stage-1 to more epochs: {tellapart.compare(learn.stage, tuned).sentence()}")
print("Where p is below 0.05 there is a difference; elsewhere these pictures cannot show one.")
