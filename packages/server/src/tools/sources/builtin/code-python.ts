import { existsSync } from 'node:fs';
import { z } from 'zod';
import { cutText, NexusError } from '#core';
import type { Tool, ToolResult } from '#tools/contract';
import { type JailedCalls, type JailedEnd, printedText } from './jailed-call.ts';

const interpreters = ['/usr/local/bin/python3', '/usr/bin/python3'];
const maxError = 4_000;
/** Who knows `code_js` looks for its tools here, too. */
const noTools = /NameError: name 'tools' is not defined/;

/**
 * Reads the code and its input, evaluates the last expression and says its value behind the mark. What is wrong with the code is told
 * without a line of this program, and where it was behind the mark. What is needed only then is loaded only then: each module that it
 * loads is paid for by all calls.
 */
const program = `
import _ast, json, sys
request = json.load(sys.stdin)
sys.stdin = open('/dev/null')
sys.path.insert(0, '/workspace')
code, mark = request['code'], request['mark']
scope = {'__name__': '__main__', 'input': request['input']}
del request

def tell(kind, what):
    sys.stdout.flush()
    sys.stdout.buffer.write(('\\n' + mark + kind + what + '\\n').encode('utf-8', 'replace'))
    sys.stdout.flush()

def fail(error):
    own = at = error.__traceback__.tb_next
    line = None
    while at is not None:
        if at.tb_frame.f_code.co_filename == '<code>':
            line = at.tb_lineno
        at = at.tb_next
    # What Python says of broken code has no line of ours.
    if line is None and isinstance(error, SyntaxError):
        own, line = None, error.lineno
    limit = 'memory' if isinstance(error, MemoryError) else 'stack' if isinstance(error, RecursionError) else None
    tell('E', json.dumps({'line': line, 'limit': limit}))
    if limit is None:
        import linecache, traceback
        linecache.cache['<code>'] = (len(code), None, code.splitlines(True), '<code>')
        traceback.print_exception(type(error), error, own)
    sys.exit(1)

try:
    tree = compile(code, '<code>', 'exec', 0x400) # only as a tree
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], _ast.Expr) else None
    exec(compile(tree, '<code>', 'exec'), scope)
    value = None if last is None else eval(compile(_ast.Expression(last.value), '<code>', 'eval'), scope)
except Exception as error:
    fail(error)
try:
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(repr(value))
except Exception as error:
    fail(error)
tell('V', text)
`;

const Told = z.object({ line: z.number().nullable(), limit: z.enum(['memory', 'stack']).nullable() });

/** `code_python`: runs Python that the model wrote, in a jail, over the files of the session. */
export function createCodePythonTool(calls: JailedCalls): Tool {
  return {
    name: 'code_python',
    description:
      'Runs Python 3 in an isolated process and gives the value of its last expression as JSON (its repr where it is none), and what was printed. ' +
      'The files of the session lie in the current folder, /workspace, and what the code changes there is kept when it ends well; ' +
      'the `input` argument is in `input`. There is the standard library and no network: code that needs it is run by `shell`.',
    inputSchema: {
      type: 'object',
      properties: {
        code: { type: 'string', minLength: 1, maxLength: 200_000 },
        input: { description: 'Any JSON value' },
      },
      required: ['code'],
      additionalProperties: false,
    },
    // It reaches nothing but its folder, where what it did counts only with its result: again is as good as once.
    effects: 'idempotent',
    source: 'built-in',
    tier: calls.tier,
    permissions: ['code.run', 'fs.read', 'fs.write', 'process.run'],
    timeoutMs: calls.longestMs,
    async execute(input, context) {
      const { code, input: value = null } = input as { code: string; input?: unknown }; // checked by the schema
      const python = interpreters.find((path) => existsSync(path));
      if (python === undefined)
        throw new NexusError('sandbox_unavailable', 'there is no python3 in /usr/bin or /usr/local/bin of this machine; install it', {
          retryable: false,
        });
      const mark = `\0${context.callId}\0`;
      const stdin = JSON.stringify({ code, input: value, mark });
      const end = await calls.run({ argv: [python, '-I', '-B', '-c', program], stdin }, context).catch(withAdvice);
      return pythonResult(end, mark, calls.memoryBytes);
    },
  };
}

/** Where nothing can be jailed there is no Python: nothing else here runs it as Python does. */
function withAdvice(error: unknown): never {
  if (!(error instanceof NexusError) || error.code !== 'sandbox_unavailable') throw error;
  throw new NexusError(error.code, `${error.message}; code_js computes without a jail`, { retryable: false, cause: error });
}

function pythonResult(end: JailedEnd, mark: string, memoryBytes: number): ToolResult {
  const [stdout, stderr] = [printedText(end.stdout), printedText(end.stderr)];
  const at = stdout.lastIndexOf(`\n${mark}`);
  const printed = at === -1 ? stdout : stdout.slice(0, at);
  // What is printed while Python ends comes after it.
  const [told = '', ...after] = at === -1 ? [] : stdout.slice(at + mark.length + 1).split('\n');
  if (end.exitCode !== 0)
    throw pythonError(end, { printed, stderr, fault: told.startsWith('E') ? parsed(told.slice(1)) : null, memoryBytes });
  const value = told.startsWith('V') ? parsed(told.slice(1)) : null;
  const logs = `${printed}${after.join('\n')}${stderr}`;
  return { type: 'ok', output: { value, ...(logs === '' ? {} : { logs }) } };
}

interface Said {
  readonly printed: string;
  readonly stderr: string;
  /** What the program around the code told of its end. */
  readonly fault: unknown;
  readonly memoryBytes: number;
}

function pythonError({ exitCode, signal }: JailedEnd, { printed, stderr, fault, memoryBytes }: Said): NexusError {
  const { line = null, limit = null } = Told.safeParse(fault).data ?? {};
  const details = line === null ? {} : { line };
  const where = line === null ? '' : ` (line ${line})`;
  switch (limit) {
    case 'memory':
      return new NexusError('limit_exceeded', `the code used up its ${memoryBytes} bytes of memory${where}`, {
        details: { limit, ...details },
      });
    case 'stack':
      return new NexusError('limit_exceeded', `the code recursed too deeply${where}`, { details: { limit, ...details } });
    case null: {
      const early = signal === null ? 'the code ended early' : `Python was ended by ${signal}`;
      const said = stderr.trim().slice(-maxError) || cutText(printed.trim(), maxError) || early;
      const why = noTools.test(said) ? `${said}\n[no tools can be called from Python; code_js calls them, by await tools.name({…})]` : said;
      return new NexusError('sandbox_code_error', `${why}\n[exit code ${exitCode}]`, { details });
    }
  }
}

/** Code can print the mark itself, and then what it likes. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
