import { dictionary } from '@nexus-agent/protocol';
/**
 * The simulator's script language. A user message may hold any number of directives, one for each model turn that
 * follows it, in order (turn index = assistant messages since that user message):
 *
 *     [[sim tools=fs_read(path="a.txt"),fs_read(path="b.txt")]]
 *     [[sim think="two files read" say="both files are short" tokens=64]]
 *
 * tools=NAME(ARG=JSON,…),…   the tool calls of the turn; NAME!("raw text") sends arguments that are not JSON
 * say="…"                    the text of the turn; `{{result}}` stands for the latest tool result, `{{results}}` for all
 * tokens=N                   the text is repeated or cut to exactly N tokens
 * think="…"                  reasoning before it
 * finish=length|content_filter|stop   the finish reason
 *
 * After the last directive the turn says `Done.`. Values are JSON, so a directive may hold another one in a string
 * (for a sub-agent).
 */
export interface Directive {
  readonly tools: readonly { readonly name: string; readonly arguments: string }[];
  readonly say: string | null;
  readonly tokens: number | null;
  readonly think: string;
  readonly finish: 'stop' | 'length' | 'content_filter' | null;
}

/** After so many that cannot be read nothing more is looked at: each may have been read to the end of the text. */
const mostUnreadable = 8;

/** The directives of a text, in order. What cannot be read is said by the directive itself, so that a script error shows. */
export function parseDirectives(text: string): Directive[] {
  const found: Directive[] = [];
  let unreadable = 0;
  let position = text.indexOf('[[sim ');
  while (position !== -1 && unreadable < mostUnreadable) {
    const scanner = createScanner(text, position + '[[sim '.length);
    try {
      found.push(readDirective(scanner));
      position = text.indexOf('[[sim ', scanner.position());
    } catch (error) {
      unreadable += 1;
      const why = error instanceof Error ? error.message : 'unreadable';
      found.push({ tools: [], say: `(simulator: the directive cannot be read: ${why})`, tokens: null, think: '', finish: null });
      position = text.indexOf('[[sim ', position + 2);
    }
  }
  return found;
}

type Scanner = ReturnType<typeof createScanner>;

function createScanner(text: string, start: number) {
  let at = start;
  const skipSpace = () => {
    while (/\s/.test(text[at] ?? '')) at += 1;
  };
  return {
    position: () => at,
    take(token: string): boolean {
      skipSpace();
      if (!text.startsWith(token, at)) return false;
      at += token.length;
      return true;
    },
    expect(token: string): void {
      if (!this.take(token)) throw new Error(`expected ${token} at "${text.slice(at, at + 20)}"`);
    },
    word(): string {
      skipSpace();
      const match = /^[\w.-]+/.exec(text.slice(at, at + 200));
      if (match === null) throw new Error(`expected a name at "${text.slice(at, at + 20)}"`);
      at += match[0].length;
      return match[0];
    },
    json(): unknown {
      skipSpace();
      const end = jsonEnd(text, at);
      const value: unknown = JSON.parse(text.slice(at, end));
      at = end;
      return value;
    },
  };
}

/** Where the JSON value that begins at `start` ends. */
function jsonEnd(text: string, start: number): number {
  let depth = 0;
  let inString = false;
  for (let at = start; at < text.length; at++) {
    const char = text[at];
    if (inString) {
      if (char === '\\') at += 1;
      else if (char === '"') {
        inString = false;
        if (depth === 0) return at + 1;
      }
    } else if (char === '"') inString = true;
    else if (char === '{' || char === '[') depth += 1;
    else if (char === '}' || char === ']') {
      if (depth === 0) return at;
      depth -= 1;
      if (depth === 0) return at + 1;
    } else if (depth === 0 && /[\s,)]/.test(char ?? '')) return at;
  }
  throw new Error('a value has no end');
}

function readDirective(scanner: Scanner): Directive {
  const directive: { -readonly [Key in keyof Directive]: Directive[Key] } = { tools: [], say: null, tokens: null, think: '', finish: null };
  while (!scanner.take(']]')) {
    const key = scanner.word();
    scanner.expect('=');
    switch (key) {
      case 'tools':
        directive.tools = readCalls(scanner);
        break;
      case 'say':
        directive.say = String(scanner.json());
        break;
      case 'think':
        directive.think = String(scanner.json());
        break;
      case 'tokens':
        directive.tokens = Math.max(0, Math.min(100_000, Number(scanner.json())));
        break;
      case 'finish': {
        const finish = scanner.word();
        if (finish !== 'stop' && finish !== 'length' && finish !== 'content_filter') throw new Error(`unknown finish ${finish}`);
        directive.finish = finish;
        break;
      }
      default:
        throw new Error(`unknown key ${key}`);
    }
  }
  return directive;
}

function readCalls(scanner: Scanner): Directive['tools'] {
  const calls: { name: string; arguments: string }[] = [];
  do {
    const name = scanner.word();
    if (scanner.take('!(')) {
      calls.push({ name, arguments: String(scanner.json()) });
      scanner.expect(')');
      continue;
    }
    scanner.expect('(');
    const input: Record<string, unknown> = dictionary({});
    while (!scanner.take(')')) {
      const key = scanner.word();
      scanner.expect('=');
      input[key] = scanner.json();
      scanner.take(',');
    }
    calls.push({ name, arguments: JSON.stringify(input) });
  } while (scanner.take(','));
  return calls;
}
