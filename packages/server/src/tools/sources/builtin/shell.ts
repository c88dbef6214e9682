import { NexusError } from '#core';
import type { Tool } from '#tools/contract';
import { parseWorkspacePath } from '#tools/workspace';
import { secretProperty } from './edge-secret.ts';
import type { WantedHost } from './jail-network.ts';
import { type JailedCalls, printedText } from './jailed-call.ts';

interface ShellInput {
  readonly command?: string;
  readonly argv?: readonly string[];
  readonly cwd?: string;
  readonly stdin?: string;
  readonly network?: readonly WantedHost[];
}

/** What a system takes as arguments of a program is bounded, also of one with many. */
const maxChars = 100_000;

/** `shell`: runs a command in a jail, in the folder of the session. */
export function createShellTool(calls: JailedCalls): Tool {
  return {
    name: 'shell',
    description:
      'Runs a command in an isolated Linux process and gives its exit code and what it printed. The files of the session lie in /workspace, ' +
      'where it starts; what it changes there is kept when it ends by itself, whatever its exit code. /tmp is empty each time, processes in the ' +
      'background end with the command. There is no network but by HTTP and HTTPS to the hosts that `network` names and policy allows, through the ' +
      'proxy that HTTP_PROXY and HTTPS_PROXY name.',
    inputSchema: {
      type: 'object',
      properties: {
        command: { type: 'string', minLength: 1, maxLength: 100_000, description: 'A command line for /bin/sh; or give argv' },
        argv: {
          type: 'array',
          items: { type: 'string', maxLength: 100_000 },
          minItems: 1,
          maxItems: 1_000,
          description: 'A program and its arguments, which no shell reads, instead of command',
        },
        cwd: { type: 'string', description: 'Folder of the workspace to start in; the whole workspace when left out' },
        stdin: { type: 'string', maxLength: 1_000_000, description: 'What the command reads' },
        network: {
          type: 'array',
          items: {
            anyOf: [
              { type: 'string', maxLength: 300 },
              {
                type: 'object',
                properties: { host: { type: 'string', maxLength: 300 }, secret: secretProperty },
                required: ['host', 'secret'],
                additionalProperties: false,
              },
            ],
          },
          maxItems: 20,
          description:
            'Hosts that the command reaches, each decided by policy before it starts: "pypi.org" for HTTPS, "example.com:8443" for another port, ' +
            '"http://example.com" to read (GET, HEAD) by plain HTTP; { "host": "api.example.com", "secret": "NAME" } for one that the command calls as ' +
            'http://api.example.com/ and that is then called by HTTPS with the secret in its header',
        },
      },
      additionalProperties: false,
    },
    effects: 'once',
    source: 'built-in',
    tier: calls.tier,
    permissions: ['code.run', 'fs.read', 'fs.write', 'net.egress', 'process.run'],
    timeoutMs: calls.longestMs,
    async execute(input, context) {
      const { command, argv, cwd, stdin = '', network = [] } = input as ShellInput; // checked by the schema
      if ((command === undefined) === (argv === undefined))
        throw new NexusError('tool_input_invalid', 'give either command, a line for the shell, or argv, a program and its arguments');
      const texts = [command ?? '', ...(argv ?? []), cwd ?? ''];
      if (texts.some((text) => text.includes('\0')))
        throw new NexusError('tool_input_invalid', 'no command holds the character 0; leave it out');
      if (texts.reduce((sum, text) => sum + text.length + 1, 0) > maxChars)
        throw new NexusError(
          'tool_input_invalid',
          `a command may have ${maxChars} characters; write what is longer to a file, or give it as stdin`,
        );
      if (cwd !== undefined && cwd !== '') parseWorkspacePath(cwd);
      const place = cwd === undefined || cwd === '' ? {} : { cwd: `/workspace/${cwd}` };
      const end = await calls.run({ argv: argv ?? ['/bin/sh', '-c', command ?? ''], ...place, stdin, network }, context);
      const [stdout, stderr] = [printedText(end.stdout), printedText(end.stderr)];
      return {
        type: 'ok',
        output: {
          exitCode: end.exitCode,
          ...(end.signal === null ? {} : { signal: end.signal }),
          ...(stdout === '' ? {} : { stdout }),
          ...(stderr === '' ? {} : { stderr }),
          ...(end.network === undefined ? {} : { network: end.network }),
        },
      };
    },
  };
}
