import { existsSync } from 'node:fs';
import { cutText, NexusError } from '#core';
import type { Tool, ToolResult } from '#tools/contract';
import { type JailedCalls, printedText } from './jailed-call.ts';

const interpreters = ['/usr/local/bin/python3', '/usr/bin/python3'];
const maxError = 4_000;

/**
 * Reads the code and its input, evaluates the last expression and says its value behind the mark. What is wrong with the code is told
 * without a line of this program.
 */
const program = `
import ast, json, linecache, sys, traceback
request = json.load(sys.stdin)
sys.stdin = open('/dev/null')
sys.path.insert(0, '/workspace')
code, mark = request['code'], request['mark']
linecache.cache['<code>'] = (len(code), None, code.splitlines(True), '<code>')
scope = {'__name__': '__main__', 'input': request['input']}
del request
try:
    tree = ast.parse(code, '<code>')
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, '<code>', 'exec'), scope)
    value = None if last is None else eval(compile(ast.Expression(last.value), '<code>', 'eval'), scope)
except Exception as error:
    sys.stdout.flush()
    # What Python says of broken code has no line of ours.
    inner = error.__traceback__ if isinstance(error, SyntaxError) else error.__traceback__.tb_next
    traceback.print_exception(type(error), error, None if isinstance(error, SyntaxError) else inner)
    sys.exit(1)
try:
    text = json.dumps(value, allow_nan=False)
except Exception:
    text = json.dumps(repr(value))
sys.stdout.flush()
sys.stdout.buffer.write(('\\n' + mark + text).encode('utf-8', 'replace'))
sys.stdout.flush()
`;

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
      const end = await calls.run({ argv: [python, '-I', '-B', '-c', program], stdin }, context);
      return pythonResult(printedText(end.stdout), printedText(end.stderr), mark, end.exitCode);
    },
  };
}

function pythonResult(stdout: string, stderr: string, mark: string, exitCode: number): ToolResult {
  const at = stdout.lastIndexOf(`\n${mark}`);
  const logs = `${at === -1 ? stdout : stdout.slice(0, at)}${stderr}`;
  if (exitCode !== 0) {
    const said = stderr.trim().slice(-maxError) || cutText(stdout.trim(), maxError);
    throw new NexusError('sandbox_code_error', `${said === '' ? 'the code ended early' : said}\n[exit code ${exitCode}]`);
  }
  const value = at === -1 ? null : parsed(stdout.slice(at + mark.length + 1));
  return { type: 'ok', output: { value, ...(logs === '' ? {} : { logs }) } };
}

/** Code can print the mark itself, and then what it likes. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
