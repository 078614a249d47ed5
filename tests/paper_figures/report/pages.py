"""What tests of the report do with pages: draw them, and read them as elements."""

from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from paper_figures import make_all

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """What a test asks of a page: elements with their attributes and text, and whether every tag is closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.text, self.elements, self._open = text, [], []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {[one.tag for one in self._open]}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute: {names}"
        parent = self._open[-1] if self._open else None
        one = SimpleNamespace(tag=tag, attrs=dict(attrs), text="", parent=parent)
        self.elements.append(one)
        if tag not in VOID:
            self._open.append(one)

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> without a start"
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data):
        for one in self._open:
            one.text += data

    def all(self, tag, inside=None, **attrs):
        """Elements of this tag and these attributes, by default of the whole page."""
        wanted = {name.rstrip("_"): value for name, value in attrs.items()}
        return [
            one
            for one in self.elements
            if one.tag == tag and wanted.items() <= one.attrs.items() and (inside is None or self.within(one, inside))
        ]

    def by_id(self, name):
        (found,) = (one for one in self.elements if one.attrs.get("id") == name)
        return found

    @staticmethod
    def within(one, outer):
        while one is not None and one is not outer:
            one = one.parent
        return one is outer


def draw(results, modules, *words):
    """Run make_all with these drawing modules only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_all, "drawables", lambda: [*modules])
        return make_all.main(["--results", str(results), *words])
