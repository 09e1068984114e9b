"""Copies of pictures, exact and near."""

from tellapart.data.copies.copies import Copies, connected, find_copies
from tellapart.data.copies.sharded_search import Shards

__all__ = ["Copies", "Shards", "connected", "find_copies"]
