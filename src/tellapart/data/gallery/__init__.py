"""The gallery: a data set of five kinds of art that tellapart draws itself, without a download.

Drawings, engravings, icons, paintings and sculptures of the same ten subjects, each picture
another one, and each the same on every run. What is shown tells nothing about the class, nor do
size or file type, and colour tells little: how a picture is made tells all. On request some files
are faulty, and a table says which, so that every check can be tried where the truth is known.

The pictures are drawn with NumPy and Pillow; they know nothing of real works of art, and a model
trained on them is for trying things out, not for use on photographs. The same versions of NumPy and
Pillow on the same kind of processor give the same bytes; elsewhere single pixels may differ.
"""

from tellapart.data.gallery.draw import GallerySummary, draw_gallery
from tellapart.data.gallery.faults import Fault
from tellapart.data.gallery.picture import CLASSES, draw_picture

__all__ = ["CLASSES", "Fault", "GallerySummary", "draw_gallery", "draw_picture"]
