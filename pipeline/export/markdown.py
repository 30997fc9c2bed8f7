"""Text of others in a Markdown page, shown as it is."""


def plain(value: object) -> str:
    """Return text that Markdown and HTML show as it is, on one line."""
    text = f"{value:,}" if isinstance(value, int) else str(value)
    text = "".join(sign if sign.isprintable() else " " for sign in text)[:200]
    for sign in "\\`|[]<>*":
        text = text.replace(sign, {"<": "&lt;", ">": "&gt;"}.get(sign, f"\\{sign}"))
    return text
