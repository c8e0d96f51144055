"""How the page looks, as CSS. Colours are variables, so that dark and light differ in one place.

Every pair of a text and its background has a contrast of at least 4.5, held by tests/browser.
"""

_LIGHT = """color-scheme:light;
--page:#f4f5f7;--card:#fff;--text:#1b1f24;--soft:#545d68;--line:#d5dae1;--code:#eef0f3;--link:#0b5cad;--bar:#5b7fb5;
--rail:#e4e8ee;
--good:#0f6a2b;--good-back:#dcf5e3;--bad:#a3102a;--bad-back:#ffe3e3;--warn:#7a4b00;--warn-back:#fff0c7;--idle:#4f5965;
--idle-back:#e9ecf0;"""
_DARK = """color-scheme:dark;
--page:#0e1116;--card:#171b22;--text:#e8ebef;--soft:#a3adb9;--line:#323a46;--code:#0b0e13;--link:#7db8ff;
--bar:#6d93cc;--rail:#2a313c;
--good:#86e0a0;--good-back:#12351f;--bad:#ffb0b0;--bad-back:#4a1620;--warn:#ffd27a;--warn-back:#40300a;--idle:#b6c0cc;
--idle-back:#262d38;"""

_BASE = """
*{box-sizing:border-box}
html{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif;
-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);overflow-wrap:anywhere}
header,main,footer{max-width:84rem;margin:0 auto;padding:0 1.25rem}
h1,h2,h3,p,dl,ul,ol,dd{margin:0;padding:0}
h1{font-size:1.6rem;line-height:1.25;font-weight:700}
h2{font-size:1.1rem;line-height:1.3;margin-bottom:.6rem}
h3{font-size:1rem;line-height:1.4}
a{color:var(--link)}
a:focus-visible,summary:focus-visible{outline:3px solid var(--link);outline-offset:2px}
bdi,td,th,dd,pre{unicode-bidi:isolate}
code,pre,.mono{font:.867rem/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
.soft{color:var(--soft)}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.good{color:var(--good);background:var(--good-back)}
.bad{color:var(--bad);background:var(--bad-back)}
.warn{color:var(--warn);background:var(--warn-back)}
.idle{color:var(--idle);background:var(--idle-back)}
.card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem 1.15rem;margin-top:1rem}
.tag{display:inline-block;border-radius:.35rem;padding:.05rem .5rem;font-weight:600;white-space:nowrap;max-width:100%;
overflow:hidden;text-overflow:ellipsis;vertical-align:bottom}
"""
_HEAD = """
.verdict{margin-top:1rem;border-radius:.5rem;padding:1.1rem 1.25rem;border-left:.5rem solid currentColor}
.verdict p{margin-top:.35rem;font-size:1.067rem}
.kind{margin-top:1rem}
header dl{display:flex;flex-wrap:wrap;gap:.1rem 1.25rem;margin-top:.7rem;font-size:.867rem}
header dl div{display:flex;gap:.4rem}
header dt{color:var(--soft)}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;margin-top:.35rem}
nav a{display:inline-block;padding:.2rem 0}
"""
_FLEET = """
.wave{display:grid;grid-template-columns:18rem 1fr;gap:.35rem 1rem;padding:.6rem 0;border-top:1px solid var(--line)}
.wave:first-of-type{border-top:0;padding-top:0}
.wave p{font-size:.867rem}
.wave ul{display:flex;flex-wrap:wrap;gap:.3rem;list-style:none;align-content:flex-start}
.wave ul li{max-width:100%}
.chip{display:block;border-radius:.35rem;padding:.15rem .5rem;text-decoration:none;border:1px solid transparent;
max-width:22rem;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.chip:hover{border-color:currentColor}
.chip.bad{font-weight:600;border-color:currentColor}
.dot{padding:.15rem 0;width:1.75rem;text-align:center}
"""
_BODY = """
.sides{display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:0 1rem;align-items:start}
.sides.one{grid-template-columns:minmax(0,1fr)}
.trouble{border-top:1px solid var(--line);padding-top:.8rem;margin-top:.8rem}
.trouble:first-of-type{border-top:0;padding-top:0;margin-top:0}
.trouble>*+*{margin-top:.4rem}
.next{list-style:none}
.next li+li{margin-top:.8rem}
pre{margin:.25rem 0 0;padding:.6rem .75rem;background:var(--code);border-radius:.35rem;white-space:pre-wrap}
pre.log{max-height:24.5rem;overflow-y:auto}
.next pre{max-height:9.5rem;overflow-y:auto}
summary{cursor:pointer;padding:.3rem 0}
.frame{overflow-x:auto}
table{width:100%;border-collapse:collapse}
th,td{text-align:left;padding:.3rem .75rem .3rem 0;vertical-align:top;border-top:1px solid var(--line)}
thead th,thead td{border-top:0;color:var(--soft);font-weight:500;font-size:.867rem;vertical-align:bottom}
tbody th{font-weight:500;min-width:4.8rem}
.outcome{min-width:8.2rem}
.outcome .tag{white-space:normal}
.group th{font-weight:700;padding-top:.9rem}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.chart{width:32%;min-width:4rem;vertical-align:middle;padding-right:0}
.peak{margin-top:2px;opacity:.55}
.bar{display:block;width:100%;height:.6rem;fill:var(--bar);background:var(--rail);border-radius:.2rem}
.host{border-top:1px solid var(--line)}
.host>summary>*{margin-right:.5rem}
.inside{padding:.2rem 0 1rem 1.1rem;scroll-margin-top:3rem}
.inside:target{box-shadow:-.5rem 0 var(--card),-.75rem 0 var(--link)}
.inside>*+*{margin-top:.7rem}
.steps{max-width:46rem}
.steps td,.steps th{padding-top:.15rem;padding-bottom:.15rem}
.facts{display:grid;grid-template-columns:6rem minmax(0,1fr);gap:.1rem .9rem;max-width:62rem}
.facts dt{color:var(--soft)}
.facts dd+dd{grid-column:2}
footer{padding-top:1rem;padding-bottom:2rem;font-size:.867rem}
"""
_PHONE = """@media (max-width:44rem){
header,main,footer{padding-left:.75rem;padding-right:.75rem}
h1{font-size:1.3rem}
.verdict{padding:.8rem .9rem}
.card{padding:.8rem .8rem}
.wave{grid-template-columns:minmax(0,1fr)}
.sides{grid-template-columns:minmax(0,1fr)}
.wide{display:none}
.facts{grid-template-columns:minmax(0,1fr)}
.facts dd+dd{grid-column:1}
.facts dt{margin-top:.35rem}
.inside{padding-left:.25rem}
.chart{width:19%;min-width:3rem}
}"""
_PRINT = """@media print{
html{font-size:11px}
.card,.verdict{break-inside:auto;border-color:#888}
.trouble,.wave,tr,.host>summary{break-inside:avoid}
nav{display:none}
pre.log,.next pre{max-height:none;overflow:visible}
details::details-content{content-visibility:visible;block-size:auto}
a{color:inherit;text-decoration:none}
*{print-color-adjust:exact}
}"""

CSS = "\n".join(
    (
        f":root{{{_LIGHT}}}",
        f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}",
        *(_BASE, _HEAD, _FLEET, _BODY, _PHONE, _PRINT),
    )
)
