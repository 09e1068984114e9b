"""The parts that every page with an answer shares: how it looks, and how one answer is shown.

`answer.js` (an ES module) exports `showAnswer(place, answer)`: it fills an element with what
`Prediction.to_json` says, and knows nothing of where that comes from: a server, or a network that runs in
the browser. `page.css` is the look. Both go without inline scripts and styles, so that a page may forbid
them, and set text from data as text.

Class names for a page to use, on its own elements:

    .page         the column that everything stands in
    .soft         text of less weight                .notice   a sentence on something that went wrong
    .actions      a row of large buttons             .main-action, .action   one of them (button or label)
    .file         an input of files, unseen, that its label stands for
    .drop         where a picture is dropped; .over while one is held above it
    .picture      the picture that was chosen        .card     a box with a border, such as around an answer
    .chips        a list of short words, in a row    .facts    a list of terms and what they are (dl)
"""

from pathlib import Path
from typing import Final

__all__ = ["ANSWER_SCRIPT", "STYLE"]

ANSWER_SCRIPT: Final = Path(__file__).with_name("answer.js")
STYLE: Final = Path(__file__).with_name("page.css")
