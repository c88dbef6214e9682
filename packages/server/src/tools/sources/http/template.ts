/** A part of a text that is made for each call. */
export type TemplatePart =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'argument'; readonly name: string }
  | { readonly type: 'secret'; readonly name: string };

export type Template = readonly TemplatePart[];

const wholeSecret = /^secret:([A-Za-z][A-Za-z0-9_]{0,99})$/;
const parts = /\$\{secret:([A-Za-z][A-Za-z0-9_]{0,99})\}|\{([A-Za-z0-9_.-]{1,100})\}/g;

/** Reads `{argument}`, `${secret:NAME}` and, as all of a text, `secret:NAME`. Other braces are text. */
export function parseTemplate(text: string): Template {
  const [, whole] = wholeSecret.exec(text) ?? [];
  if (whole !== undefined) return [{ type: 'secret', name: whole }];
  const found: TemplatePart[] = [];
  let at = 0;
  for (const match of text.matchAll(parts)) {
    if (match.index > at) found.push({ type: 'text', text: text.slice(at, match.index) });
    const [all, secret, argument = ''] = match;
    found.push(secret === undefined ? { type: 'argument', name: argument } : { type: 'secret', name: secret });
    at = match.index + all.length;
  }
  if (at < text.length) found.push({ type: 'text', text: text.slice(at) });
  return found;
}

export function argumentsOf(template: Template): string[] {
  return template.flatMap((part) => (part.type === 'argument' ? [part.name] : []));
}

export function secretsOf(template: Template): string[] {
  return template.flatMap((part) => (part.type === 'secret' ? [part.name] : []));
}
