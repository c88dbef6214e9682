/** What a server says that it needs, when it refuses a request. */
export interface Challenge {
  readonly resourceMetadataUrl: string | null;
  readonly scope: string | null;
  readonly error: string | null;
}

export const noChallenge: Challenge = { resourceMetadataUrl: null, scope: null, error: null };

/** Of one scheme; a parameter that is given twice, with two values, is none. */
type Scheme = { readonly name: string; readonly parameters: Map<string, string | null> };

const space = /[\s,]*/y;
const parameter = /([!#$%&'*+.^_`|~\w-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^\s,"]+))/y;
const scheme = /[!#$%&'*+.^_`|~\w-]+/y;

/**
 * Reads `WWW-Authenticate` (RFC 9110, 11.6.1): several challenges in one header or in several, in any order, names in any letters, texts
 * that hold commas, quotes and what looks like a parameter. What is none is passed over.
 */
export function challengeOf(response: Response): Challenge {
  const schemes = schemesIn(response.headers.get('www-authenticate') ?? '').filter(({ name }) => name === 'bearer' || name === 'dpop');
  const found = schemes.find(({ parameters }) => parameters.get('resource_metadata') != null) ?? schemes[0];
  if (found === undefined) return noChallenge;
  const get = (name: string) => found.parameters.get(name) ?? null;
  return { resourceMetadataUrl: URL.parse(get('resource_metadata') ?? '')?.href ?? null, scope: get('scope'), error: get('error') };
}

function schemesIn(header: string): Scheme[] {
  const schemes: Scheme[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(header);
    at += found?.[0].length ?? 0;
    return found;
  };
  for (take(space); at < header.length; take(space)) {
    const given = take(parameter);
    if (given === null) {
      const name = take(scheme)?.[0];
      if (name === undefined) at += 1;
      else schemes.push({ name: name.toLowerCase(), parameters: new Map() });
      continue;
    }
    const [, name = '', quoted, single, plain = ''] = given;
    const value = quoted?.replace(/\\(.)/g, '$1') ?? single ?? plain;
    const parameters = schemes.at(-1)?.parameters;
    const before = parameters?.get(name.toLowerCase());
    parameters?.set(name.toLowerCase(), before === undefined || before === value ? value : null);
  }
  return schemes;
}
