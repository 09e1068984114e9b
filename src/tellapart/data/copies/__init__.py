"""Copies of pictures, exact and near."""

from tellapart.data.copies.copies import Copies, connected, find_copies

__all__ = ["Copies", "connected", "find_copies"]
