"""Arguments of `lfmkit.fit` from one flat set of keywords."""

from dataclasses import fields

from lfmkit.training import Compute, Training


def asked(**keywords):
    """Return the keywords with those of Training and Compute put into their places."""
    for name, kind in (("training", Training), ("compute", Compute)):
        inner = {f.name: keywords.pop(f.name) for f in fields(kind) if f.name in keywords}
        if inner:
            keywords[name] = kind(**inner)
    return keywords
