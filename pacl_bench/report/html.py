"""The report as a page to open in a browser: the same text, styled, all figures within reach of their folder."""

from markdown import markdown

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --rule: #ddd; --soft: #f6f6f4; --link: #0072b2 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ddd; --paper: #181818; --rule: #444; --soft: #222; --link: #56b4e9 }
}
body { margin: 0 auto; padding: 2rem 1.5rem 5rem; max-width: 72rem; background: var(--paper); color: var(--ink);
       font: 16px/1.55 system-ui, sans-serif }
p, ul { max-width: 46rem }
h1, h2, h3 { line-height: 1.2 } h2 { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--rule) }
a { color: var(--link) }
img { max-width: 100%; height: auto; background: #fff; padding: .5rem; box-sizing: border-box }
.table { overflow-x: auto }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top }
td { min-width: 6rem } td[style*=right] { min-width: 3.5rem; white-space: nowrap }
thead th { border-bottom: 2px solid var(--ink) }
tbody tr:hover { background: var(--soft) }
code { background: var(--soft); padding: .1em .3em; border-radius: 3px; font-size: .88em }
"""


def page(text: str) -> str:
    """A whole HTML page of the report's Markdown."""
    body = markdown(text, extensions=["tables"])
    # wide tables scroll by themselves, and the page does not
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>pacl-bench report</title><style>{STYLE}</style>"
    return f"<!doctype html>\n<html lang=en><head>{head}</head>\n<body>\n{body}\n</body></html>\n"
