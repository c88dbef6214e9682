import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { browse, type Guarded, openLoginAt, startGuarded } from '../../packages/server/src/tools/sources/testing/index.ts';
import { acquirePostgres } from '../support/postgres.ts';
import { fillFolder, type NodeProcess, startNode } from './support/node-process.ts';

const path = '/v1/mcp-servers/docs';
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
/** A token of so many seconds is renewed after half of them. */
const lasts = 8;

/** A server of ours that is killed while it renews a token, and started again on the same database. */
class Killed {
  node: NodeProcess | null = null;
  readonly folder = mkdtempSync(join(tmpdir(), 'nexus-oauth-killed-'));
  readonly guarded: Guarded;
  readonly databaseUrl: string | null;

  constructor(guarded: Guarded, databaseUrl: string | null) {
    this.guarded = guarded;
    this.databaseUrl = databaseUrl;
    const { as, mcp } = guarded;
    const allowed = `mcpClient:\n  connectTimeoutMs: 1500\n  allowPrivate: ["127.0.0.1:${mcp.port}", "127.0.0.1:${as.port}"]\n`;
    const key = databaseUrl === null ? '' : '  oauth:\n    key: "one key for all of the processes there are"\n';
    fillFolder(this.folder, { 'nexus.yaml': allowed + key, 'agents/.keep': '', 'policies/.keep': '' });
  }

  async start(): Promise<void> {
    const at = (name: string) => join(this.folder, name);
    this.node = await startNode(this.folder, {
      ...{ NEXUS_DATA_DIR: at('data'), NEXUS_CONFIG: at('nexus.yaml'), NEXUS_AGENTS_DIR: at('agents'), NEXUS_POLICIES_DIR: at('policies') },
      ...(this.databaseUrl === null ? {} : { NEXUS_DATABASE_URL: this.databaseUrl }),
    });
  }

  async call(method: string, of = path, body?: unknown) {
    if (this.node === null) throw new Error('it is not started');
    return (await this.node.call(method, of, body)).body;
  }

  async login(): Promise<void> {
    const { address, cookies } = await openLoginAt(await this.call('POST', `${path}/login`));
    const { back } = await browse(address);
    expect((await fetch(back, { headers: { cookie: cookies } })).status).toBe(200);
  }

  /** Waits until the token has to be renewed, has it renewed, and is killed once the authorization server was asked. */
  async killWhileRenewing(): Promise<void> {
    await sleep((lasts * 1_000) / 2 + 200);
    const asked = this.asked();
    const inspecting = this.call('GET').catch(() => undefined);
    await vi.waitFor(() => expect(this.asked()).toBe(asked + 1), { timeout: 5_000 });
    await this.node?.kill();
    await inspecting;
    await this.start();
  }

  asked = () => this.guarded.as.heard.filter((each) => each === '/token').length;

  /** What it comes to, once whoever was at it is not waited for any more. */
  async settled(): Promise<string | null> {
    const faults: (string | undefined)[] = [];
    for (let looks = 0; looks < 30; looks++) {
      const { fault } = await this.call('GET');
      if (fault === undefined || /has to log in/.test(fault)) return fault ?? null;
      faults.push(fault);
      await sleep(300);
    }
    throw new Error(`it never settled: ${faults.join('\n')}`);
  }

  async end(): Promise<void> {
    await this.node?.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

it.for(['the embedded database', 'Postgres'])(
  'a server that is killed while it renews a token loses no login that can be kept, and asks for another one where it cannot, with %s [verifies tools.mcp.oauth.refresh]',
  { timeout: 120_000 },
  async (database, context) => {
    const postgres = database === 'Postgres' ? await acquirePostgres() : null;
    if (postgres !== null && 'reason' in postgres) return context.skip(postgres.reason);
    const guarded = await startGuarded();
    const { as } = guarded;
    as.tokenAnswer = { expires_in: lasts };
    const killed = new Killed(guarded, postgres?.url ?? null);
    const state = async () => (await killed.call('GET', `${path}/login`)).state;
    try {
      await killed.start();
      await killed.call('PUT', path, { transport: { type: 'http', url: guarded.mcp.url }, auth: { type: 'oauth' } });
      await killed.login();

      // It has not spent the refresh token yet.
      as.answer = (asked) => asked === '/token';
      await killed.killWhileRenewing();
      as.answer = () => undefined;
      expect(await killed.settled()).toBeNull();

      // It has, and takes it once more from who did not hear the answer.
      as.tokenDelayMs = 60_000;
      const [spent = ''] = [...as.refresh.keys()].slice(-1);
      await killed.killWhileRenewing();
      as.tokenDelayMs = 0;
      as.refresh.set(spent, 'read');
      expect(await killed.settled()).toBeNull();
      expect(await state()).toBe('active');

      // It has, and takes it never again: nobody knows the new one.
      as.tokenDelayMs = 60_000;
      await killed.killWhileRenewing();
      as.tokenDelayMs = 0;
      expect(await killed.settled()).toMatch(/or the login has ended: a person has to log in with nexus mcp login docs/);
      expect(await state()).toBe('needed');
      await killed.login();
      expect(await killed.settled()).toBeNull();
    } finally {
      await killed.end();
      await guarded.close();
      await postgres?.close();
    }
  },
);
