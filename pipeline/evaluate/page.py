"""The frame of every HTML page that is made here: no file beside it, no network, light or dark."""

from html import escape

STYLE = """
:root { --paper: #fff; --ink: #1c1e22; --soft: #5f6570; --line: #e2e4e8; --accent: #0b6bcb;
  --raised: #f5f6f8; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e8eaed; --soft: #a0a6b0;
  --line: #31353b; --accent: #6cb2ff; --raised: #1e2125; } }
body { background: var(--paper); color: var(--ink); margin: 0 auto; padding: 32px;
  max-width: 1180px; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 28px; margin: 0 0 8px; } h2 { font-size: 21px; margin: 40px 0 4px; }
small { display: block; font-size: 12px; color: var(--soft); font-weight: normal; }
.soft { color: var(--soft); margin: 0 0 10px; } .wide { overflow-x: auto; }
.notes { background: var(--raised); border-radius: 6px; padding: 10px 10px 10px 30px;
  font-size: 14px; }
table { border-collapse: collapse; margin: 12px 0; font-size: 15px; }
th, td { border-bottom: 1px solid var(--line); padding: 6px 14px 6px 0; text-align: left;
  vertical-align: top; }
th { font-weight: 600; } .number { font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: 13px ui-monospace, monospace; } details { margin: 10px 0; font-size: 14px; }
"""
_POLICY = "default-src 'none'; img-src data: 'self'; media-src 'self'; style-src 'unsafe-inline'"


def page(title: str, body: str, style: str = "", script: str = "", data: str = "") -> str:
    """Return an HTML document. `title` is text, everything else is HTML, CSS, JavaScript.

    The page may load pictures and videos beside it and nothing else; a script only when given.
    """
    policy = _POLICY + ("; script-src 'unsafe-inline'" if script else "")
    code = f"<script>{script}</script>" if script else ""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv=Content-Security-Policy content="{policy}">'
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>"
        f"<body>{body}{data}{code}</body></html>\n"
    )
