"""Gathering: from lists of links to verified pictures on disk, with a receipt that loses nothing.

links.py        lists of links, as people have them, to (link, class)
urls.py         what is asked for when a link is asked for
options.py      the bounds
addresses.py    which addresses may be connected to
schedule.py     who is asked next: few connections to a host, rests honoured
fetch.py        one request, bounded in every direction
store.py        a file on disk: verified, named after its content
settle.py       the same content under several links or in several classes
session.py      all links, side by side
gather.py       the verb
verify.py       the same checks on pictures that are on disk already
"""
