import { realpathSync } from 'node:fs';
import type { McpServerDefinition } from '@nexus-agent/protocol';
import { NexusError, settlesWithin, type Timers } from '#core';
import { holdsSecret } from '#tools/contract';
import type { Jail, JailedProcess, JailLimits } from '#tools/sandbox';

export type ProgramTransport = Extract<McpServerDefinition['transport'], { type: 'stdio' }>;

export interface ProgramSettings {
  readonly mode: 'off' | 'jailed';
  readonly tenants: readonly string[];
  readonly readOnly: readonly string[];
}

export interface ProgramsOptions {
  /** Owned by the caller, who closes it after the servers. */
  readonly jail: Jail;
  readonly settings: ProgramSettings;
  readonly limits: JailLimits;
  readonly timers: Pick<Timers, 'after'>;
  /** The value of a secret that the tenant may give to programs. Throws `invalid_request`. */
  readonly secretFor: (tenantId: string, name: string) => string;
}

export interface StartedProgram {
  readonly process: JailedProcess;
  /** Closes what it reads, waits a moment, asks it to end (SIGTERM), waits again, then kills all that is left of it. */
  end(): Promise<void>;
  /** The last that it said to stderr, once it has ended, without the secrets that it was given. */
  lastWords(): Promise<string>;
}

export interface Programs {
  /** Throws `invalid_request` for what could never be started. */
  check(tenantId: string, transport: ProgramTransport): void;
  /** Throws `sandbox_unavailable` where nothing can be jailed: there is nothing weaker. */
  start(tenantId: string, transport: ProgramTransport, signal: AbortSignal): Promise<StartedProgram>;
}

const politeMs = 1_000;
const maxWords = 1_000;
const hiding = '[secret]';
/** They would be in force in what sets the limits of the program, before these hold. */
const steersLoader = /^(LD_|GLIBC_TUNABLES$)/;
/** They fetch what they run, and jails have no network. */
const fetching = /(^|\/)(npx|bunx|uvx|pipx|pnpx)$/;

/** What every program reads anyway. */
const inEveryJail = '/usr/';

/** MCP servers that are programs of this machine: each in a jail of its own, with no network and what it is granted to read. */
export function createPrograms({ jail, settings, limits, timers, secretFor }: ProgramsOptions): Programs {
  function environmentOf(tenantId: string, { env }: ProgramTransport) {
    const secrets: string[] = [];
    const values = Object.entries(env).map(([name, value]) => {
      if (steersLoader.test(name)) throw invalid(`the variable ${name} changes what programs load, and is not taken`);
      if (typeof value !== 'string') {
        const secret = secretFor(tenantId, value.secret);
        secrets.push(secret);
        return [name, secret] as const;
      }
      if (holdsSecret(name, value))
        throw invalid(`the variable ${name} holds a secret: configure it under mcpClient.secrets and write { secret: NAME }`);
      return [name, value] as const;
    });
    return { env: Object.fromEntries(values), secrets };
  }

  /** Where each of them really lies: a link does not lead out of what is granted. */
  function grantedPaths({ readOnly }: ProgramTransport) {
    const roots = settings.readOnly.flatMap((root) => realPath(root) ?? []);
    return readOnly.flatMap((at) => {
      const path = realPath(at);
      if (at.startsWith(inEveryJail) && path?.startsWith(inEveryJail) === true) return [];
      const isGranted = path !== null && roots.some((root) => path === root || path.startsWith(`${root === '/' ? '' : root}/`));
      if (!isGranted)
        throw invalid(`${at} is not there, or not within mcpClient.stdio.readOnly, which says what programs may be given to read`);
      return [{ path, at }];
    });
  }

  function check(tenantId: string, transport: ProgramTransport): void {
    if (settings.mode === 'off') throw invalid('MCP servers may not be programs here (mcpClient.stdio.mode is off)');
    if (!settings.tenants.includes(tenantId)) throw invalid('MCP servers of this tenant may not be programs (mcpClient.stdio.tenants)');
    if (fetching.test(transport.command))
      throw invalid(
        `${transport.command} fetches what it runs, and a program in a jail has no network: install the package on the server, grant its folder in mcpClient.stdio.readOnly, and give node or python with the path of its script`,
      );
    environmentOf(tenantId, transport);
    grantedPaths(transport);
  }

  return {
    check,
    async start(tenantId, transport, signal) {
      check(tenantId, transport);
      const { command, args, cwd } = transport;
      const { env, secrets } = environmentOf(tenantId, transport);
      const readOnly = grantedPaths(transport);
      const process = await jail.spawn({ argv: [command, ...args], ...(cwd === undefined ? {} : { cwd }), env, readOnly, limits }, signal);
      return {
        process,
        async end() {
          process.stdin.end();
          process.stdout.resume();
          if (!(await settlesWithin(timers, process.ended, politeMs))) await process.terminate();
          await settlesWithin(timers, process.ended, politeMs);
          process.kill();
          await process.ended;
        },
        async lastWords() {
          const end = await process.ended;
          const why = end.type === 'exited' ? `it ended with exit code ${end.exitCode}` : end.error.message;
          const kept = Buffer.from(end.stderr).toString('utf8');
          // Where the beginning is cut off, it may begin with the rest of a secret.
          const unsure = end.stderr.length < limits.outputBytes ? 0 : Math.max(0, ...secrets.map((secret) => secret.length));
          const said = kept.slice(unsure).trim();
          return secrets
            .toSorted((one, other) => other.length - one.length) // one may be the beginning of another
            .reduce((text, secret) => text.replaceAll(secret, hiding), `${why}${said === '' ? '' : `: ${said}`}`)
            .slice(-maxWords);
        },
      };
    },
  };
}

function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}

function invalid(message: string): NexusError {
  return new NexusError('invalid_request', message);
}
