"""How the page looks: its whole style sheet, on paper and in the dark, too."""

STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #d5dbe3; --ground: #ffffff; --panel: #f6f8fa; --good: #1769aa;
  --bad: #b3261e; --mark: #e8f1fb; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa5b4; --line: #39424e; --ground: #14181e;
  --panel: #1c222a; --good: #6cb4f5; --bad: #ff8a80; --mark: #1d3550; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { margin: .3rem 0 .8rem; max-width: 60rem; } .soft, figcaption { color: var(--soft); font-size: .87rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .32rem .7rem .32rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: .85rem; white-space: nowrap; } td.n { text-align: right; }
.bad { color: var(--bad); } .good { color: var(--good); } code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: var(--panel); padding: .8rem; overflow-x: auto; border-radius: 4px; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; flex: 1 1 30rem; }
svg { width: 100%; height: auto; display: block; } svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg .axis { stroke: var(--line); } svg .edge { fill: none; stroke: var(--good); stroke-dasharray: 4 3; }
svg .kept { fill: var(--good); stroke: var(--good); } svg .baseline { fill: var(--ink); stroke: var(--ink); }
svg .behind { fill: var(--ground); stroke: var(--good); } svg .dropped { fill: var(--ground); stroke: var(--bad); }
svg .tried { fill: var(--soft); stroke: none; opacity: .55; } svg .whisker { stroke: var(--soft); }
svg .name { fill: var(--ink); font-weight: 600; } svg .bar { fill: var(--good); } svg .worst { fill: var(--bad); }
ul.tree, ul.tree ul { list-style: none; margin: 0; padding-left: 1.3rem; } ul.tree { padding-left: 0; }
ul.tree ul { border-left: 1px solid var(--line); margin-left: .4rem; } ul.tree li { margin: .25rem 0; }
ul.tree b { background: var(--mark); border-radius: 3px; padding: .05rem .4rem; }
details { margin: .4rem 0; } summary { cursor: pointer; }
@media print { body { max-width: none; padding: 0; } details > * { display: block; } }
"""
