/** What a page of a hostile site tries. `{get}` stands for an address that a GET would go to, `{post}` for one that a POST would. */
export interface Way {
  readonly name: string;
  /** The page, once for each target. */
  readonly html: string;
  /** Headers of the hostile page itself. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Not counted on to reach even a server that takes everything: the browser may refuse by itself. */
  readonly mayBeStopped?: true;
}

/** As text: what a page sends as a body where it cannot say that it is JSON, and where it tries to. */
const body = `'{"input":"steered","agent":"chat"}'`;
const way = (name: string, html: string, more: Omit<Way, 'name' | 'html'> = {}): Way => ({ name, html, ...more });
const script = (code: string) => `<script>${code}</script>`;
const form = (attributes: string, fields = '<input name="input" value="steered">') =>
  `<iframe name="f{n}" hidden></iframe><form id="m{n}" target="f{n}" ${attributes}>${fields}</form>${script('document.getElementById("m{n}").submit()')}`;
const maybe = { mayBeStopped: true } as const;

export const ways: readonly Way[] = [
  way('an image', '<img src="{get}">'),
  way('an image of several sizes', '<picture><source srcset="{get}"><img srcset="{get} 2x" src="data:,"></picture>'),
  way('the image of a button', '<input type="image" src="{get}">'),
  way('the image of a drawing', '<svg><image href="{get}"/></svg>'),
  way('a script', '<script src="{get}"></script>'),
  way('a module', '<script type="module" src="{get}"></script>'),
  way('a script of a worker', script(`new Worker(URL.createObjectURL(new Blob(["importScripts('{get}')"])))`)),
  way('a style sheet', '<link rel="stylesheet" href="{get}">'),
  way('an import of a style sheet', '<style>@import url("{get}");</style>'),
  way('a background', '<div style="background:url({get});width:9px;height:9px">x</div>'),
  way('a font', '<style>@font-face{font-family:x;src:url("{get}")}p{font-family:x}</style><p>x</p>'),
  way('a cursor and a list', '<ul style="list-style-image:url({get})"><li>x</ul>'),
  way('an icon', '<link rel="icon" href="{get}">', maybe),
  way('a manifest', '<link rel="manifest" href="{get}">', maybe),
  way('a video', '<video src="{get}" preload="auto" autoplay muted></video>'),
  way('a sound', '<audio src="{get}" preload="auto"></audio>'),
  way('subtitles', '<video><track default src="{get}"></video>', maybe),
  way('an object', '<object data="{get}"></object>'),
  way('an embedded thing', '<embed src="{get}">'),
  way('a frame', '<iframe src="{get}"></iframe>'),
  way('a frame without an origin', '<iframe sandbox="allow-scripts allow-forms" src="{get}"></iframe>'),
  way(
    'a frame without a referrer',
    '<iframe referrerpolicy="no-referrer" src="{get}"></iframe><img referrerpolicy="no-referrer" src="{get}">',
  ),
  way('a prefetch', '<link rel="prefetch" href="{get}">'),
  way('a preload', '<link rel="preload" as="fetch" href="{get}"><link rel="preload" as="image" href="{get}">'),
  way('a preload of a module', '<link rel="modulepreload" href="{get}">'),
  way('a prerender', '<link rel="prerender" href="{get}">', maybe),
  way(
    'rules of speculation',
    '<script type="speculationrules">{"prefetch":[{"source":"list","urls":["{get}"]}],"prerender":[{"source":"list","urls":["{get}"]}]}</script>',
    maybe,
  ),
  way('a form by GET', form('action="{bare}" method="get"')),
  way('a form by POST', form('action="{post}" method="post"')),
  way(
    'a form of plain text that is JSON',
    form('action="{post}" method="post" enctype="text/plain"', `<input name='{"input":"steered","x":"' value='"}'>`),
  ),
  way('a form of parts', form('action="{post}" method="post" enctype="multipart/form-data"')),
  way('a form that names another method', form('action="{post}?_method=DELETE" method="post"', '<input name="_method" value="PUT">')),
  way(
    'a form from a frame without an origin',
    `<iframe sandbox="allow-scripts allow-forms" srcdoc='<form id=m action="{post}" method=post enctype=text/plain><input name=a value=b></form><script>m.submit()</script>'></iframe>`,
  ),
  way('a fetch that reads nothing', script(`fetch('{get}',{mode:'no-cors'})`)),
  way('a fetch with cookies', script(`fetch('{get}',{mode:'no-cors',credentials:'include',cache:'reload'})`)),
  way('a fetch without a referrer', script(`fetch('{get}',{mode:'no-cors',referrerPolicy:'no-referrer',referrer:''})`)),
  way('a post of plain text', script(`fetch('{post}',{method:'POST',mode:'no-cors',body:${body}})`)),
  way('a post that outlives its page', script(`fetch('{post}',{method:'POST',mode:'no-cors',keepalive:true,body:${body}})`)),
  way(
    'a post whose body says JSON',
    script(`fetch('{post}',{method:'POST',mode:'no-cors',body:new Blob([${body}],{type:'application/json'})})`),
  ),
  way('a post of JSON', script(`fetch('{post}',{method:'POST',headers:{'content-type':'application/json'},body:${body}})`)),
  way(
    'a post of JSON with a key and names of a method',
    script(
      `fetch('{post}',{method:'POST',headers:{'content-type':'application/json','x-http-method-override':'DELETE',authorization:'Bearer x'},body:${body}})`,
    ),
  ),
  way(
    'a post of JSON to this address space',
    script(`fetch('{post}',{method:'POST',targetAddressSpace:'loopback',headers:{'content-type':'application/json'},body:${body}})`),
    maybe,
  ),
  way('a PUT and a DELETE', script(`for(const method of ['PUT','DELETE','PATCH'])fetch('{post}',{method,body:${body}})`)),
  way('a HEAD and an OPTIONS', script(`fetch('{get}',{method:'HEAD',mode:'no-cors'});fetch('{post}',{method:'OPTIONS'})`)),
  way('an old request', script(`const x=new XMLHttpRequest();x.open('POST','{post}');x.withCredentials=true;x.send(${body})`)),
  way('a beacon', script(`navigator.sendBeacon('{post}',${body})`)),
  way('a beacon that says JSON', script(`navigator.sendBeacon('{post}',new Blob([${body}],{type:'application/json'}))`)),
  way('a ping of a link', `<a id="a{n}" ping="{post}" href="#x">x</a>${script('document.getElementById("a{n}").click()')}`, maybe),
  way('a reader of events', script(`new EventSource('{get}')`)),
  way('a reader of events with cookies', script(`new EventSource('{get}',{withCredentials:true})`)),
  way('a socket', script(`new WebSocket('{get}'.replace('http','ws'))`)),
  way('a report of a forbidden image', '<img src="/never.png">', {
    headers: { 'content-security-policy': "img-src 'none'; report-uri {posts}" },
  }),
  way('a redirect of an image', '<img src="/to?302&{redirected}">'),
  way('a redirect of a frame', '<iframe src="/to?301&{redirected}"></iframe>'),
  way('a redirect that keeps a form', form('action="/to?307&{redirectedPost}" method="post" enctype="text/plain"')),
  way(
    'a redirect that keeps a post of JSON',
    script(`fetch('/to?308&{redirectedPost}',{method:'POST',headers:{'content-type':'application/json'},body:${body}})`),
  ),
  way('a redirect that keeps a plain post', script(`fetch('/to?307&{redirectedPost}',{method:'POST',mode:'no-cors',body:${body}})`)),
  way('a page that leads on', '<iframe src="/leads?{redirected}"></iframe>'),
  way(
    'a page that goes elsewhere',
    script(`const f=document.createElement('iframe');document.body.append(f);f.contentWindow.location='{get}'`),
  ),
  way('a window', script(`window.open('{get}')`), maybe),
  way('a window that its opener does not know', script(`window.open('{get}','_blank','noopener,noreferrer')`), maybe),
  way(
    'a link that is clicked',
    `<a id="l{n}" target="_blank" rel="noreferrer" href="{get}">x</a>${script('document.getElementById("l{n}").click()')}`,
    maybe,
  ),
];

/** The page of a way for all targets: each tries on its own, so that none is kept from it by the fault of another. */
export function pageOf(
  { html }: Way,
  targets: readonly string[],
  paths: { readonly get: readonly string[]; readonly post: readonly string[] },
): string {
  let n = 0;
  const parts: string[] = [];
  for (const target of targets) {
    const addresses = Math.max(paths.get.length, /\{(?:post|redirectedPost)\}/.test(html) ? paths.post.length : 0);
    for (let index = 0; index < addresses; index++) {
      const get = `${target}${paths.get[index % paths.get.length]}`;
      const post = `${target}${paths.post[index % paths.post.length]}`;
      n += 1;
      const filled = html
        .replaceAll('{n}', String(n))
        .replaceAll('{get}', get)
        .replaceAll('{bare}', `${target}/v1/agents/chat/stream`)
        .replaceAll('{posts}', post)
        .replaceAll('{post}', post)
        .replaceAll('{redirected}', encodeURIComponent(get))
        .replaceAll('{redirectedPost}', encodeURIComponent(post));
      parts.push(filled.replace(/<script>([\s\S]*?)<\/script>/g, '<script>try{(()=>{$1})()}catch{}</script>'));
    }
  }
  return `<!doctype html><meta charset="utf-8"><title>x</title><body>${parts.join('\n')}<script>addEventListener('load',()=>setTimeout(()=>fetch('/done'),300))</script>`;
}
