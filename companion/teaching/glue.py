"""Numbers of a run in the text of its page."""

from IPython.display import display


def glue(**texts: str) -> None:
    """Keep texts under names, to be inserted in the page as ``{glue:text}`name```.

    Parameters
    ----------
    **texts : str
        Rounded to what every run on every backend reproduces.

    Examples
    --------
    >>> glue(factor=f"{2.718:.1f}")  # doctest: +SKIP
    """
    for name, text in texts.items():
        display(
            {"application/papermill.record/text/plain": text, "text/plain": f"{name} = {text}"},
            metadata={"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}},
            raw=True,
        )
