"""Records that somebody edited by hand."""

import json

from bench.system.files import write_json


def edit(path, **changes):
    """Change a JSON file: each function makes the new value of a name from its old one."""
    content = json.loads(path.read_text())
    write_json(path, content | {name: function(content[name]) for name, function in changes.items()})


def better(metrics):
    """Metrics with an FD that is a tenth lower."""
    return metrics | {"fid": 0.9 * metrics["fid"]}
