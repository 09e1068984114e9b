"""What the routes and the gate of one server share."""

from dataclasses import dataclass

from tellapart.ship.server.admission import Admission
from tellapart.ship.server.current_model import CurrentModel
from tellapart.ship.server.figures import Figures
from tellapart.ship.server.limits import Limits
from tellapart.ship.server.log import Log
from tellapart.ship.server.workers import Workers

__all__ = ["Service"]


@dataclass
class Service:
    """The parts of a server that live as long as it does; `busy` is how many requests are in progress."""

    model: CurrentModel
    workers: Workers
    admission: Admission
    limits: Limits
    figures: Figures
    log: Log
    stopping: bool = False
    busy: int = 0
