"""Switch sphinx_thebe off, which Jupyter Book loads always: its script names a remote host on every page, twice."""


def setup(app):
    for listeners in app.events.listeners.values():
        listeners[:] = [one for one in listeners if one.handler.__module__ != "sphinx_thebe" or is_static(one)]
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def is_static(listener) -> bool:
    """Whether it copies the extension's style sheet, which pages ask for all the same."""
    return listener.handler.__name__ == "st_static_path"
