import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { createManualClock } from '#core/testing';
import { postgresFailure, sqliteFailure } from './failures.ts';
import { openSqlite } from './sqlite.ts';

const refusal = (code: string) => Object.assign(new Error('said the server'), { severity: 'ERROR', code });
const folder = mkdtempSync(join(tmpdir(), 'nexus-failures-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('what a Postgres says', () => {
  const word = fc.constantFrom(...'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ');
  const state = fc.array(word, { minLength: 5, maxLength: 5 }).map((letters) => letters.join(''));

  it('is an outage, whatever it is, unless the statement, its data or a constraint is what it says it of', () => {
    fc.assert(
      fc.property(state, (code) => {
        fc.pre(!['40001', '40P01', '55P03'].includes(code));
        const isOfStatement = /^(22|23|42|54)/.test(code) && code !== '42P05';
        expect(postgresFailure(refusal(code)).failure === 'outage').toBe(!isOfStatement);
      }),
    );
  });

  it.each([
    ['57014', 'outage', false],
    ['57P01', 'outage', true],
    ['57P02', 'outage', true],
    ['57P03', 'outage', true],
    ['53100', 'outage', false],
    ['53300', 'outage', false],
    ['25006', 'outage', true],
    ['0A000', 'outage', true],
    ['26000', 'outage', true],
    ['XX000', 'outage', true],
    ['28P01', 'outage', true],
    ['55P03', 'busy', false],
    ['40P01', 'busy', false],
    ['23505', 'conflict', false],
    ['23502', 'fatal', false],
    ['22003', 'fatal', false],
    ['42P01', 'fatal', false],
    ['54000', 'fatal', false],
    ['42P05', 'outage', true],
  ])('(%s) is %s', (code, failure, doubtful) => {
    expect(postgresFailure(refusal(code))).toMatchObject({ failure, doubtful });
  });

  it.each(['Connection terminated unexpectedly', 'any other text', 'SASL: something'])(
    'without a code (%s) is an outage of the way to it',
    (text) => {
      expect(postgresFailure(new Error(text))).toMatchObject({ failure: 'outage', doubtful: true });
      expect(postgresFailure(Object.assign(new Error(text), { code: 'ECONNRESET' })).reason).toContain('ECONNRESET');
    },
  );
});

/** What SQLite throws when the work is done. */
function thrownBy(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

describe('what SQLite says', () => {
  const file = join(folder, 'some.db');
  const database = new DatabaseSync(file);
  database.exec('create table t (a integer primary key not null, b text) strict; pragma max_page_count = 3');
  afterAll(() => database.close());

  it.each([
    ['a full disk', 'outage', () => database.exec(`insert into t values (1, '${'x'.repeat(100_000)}')`)],
    ['a file that may only be read', 'outage', () => new DatabaseSync(file, { readOnly: true }).exec('insert into t values (2, null)')],
    ['a file that cannot be opened', 'outage', () => new DatabaseSync(folder)],
    ['a wrong statement', 'fatal', () => database.exec('selekt 1')],
    ['wrong data', 'fatal', () => database.exec("insert into t values ('x', null)")],
    [
      'a key twice',
      'conflict',
      () => {
        database.exec('insert into t values (7, null)');
        database.exec('insert into t values (7, null)');
      },
    ],
  ] as const)('of %s is %s', (_, failure, work) => {
    expect(sqliteFailure(thrownBy(work))).toMatchObject({ failure });
  });

  it('is an outage for each code that is not of a statement, and nothing for what is not SQLite', () => {
    const ofStatement = [1, 18, 19, 20, 21, 25];
    for (let code = 1; code < 28; code++) {
      const expected = ofStatement.includes(code) ? 'fatal' : code === 5 || code === 6 ? 'busy' : 'outage';
      expect(sqliteFailure(Object.assign(new Error(), { errcode: code }))?.failure).toBe(expected);
      expect(sqliteFailure(Object.assign(new Error(), { errcode: code | (3 << 8) }))?.failure).toBe(expected);
    }
    expect(sqliteFailure(new TypeError('a mistake'))).toBeNull();
  });
});

describe('an embedded database that cannot be opened says what would be right', () => {
  const open = (dataDir: string) => openSqlite({ dataDir, synchronous: 'NORMAL', timeoutMs: 100, clock: createManualClock() });

  it('where the data directory is a file, or lies in one', async () => {
    const path = join(folder, 'a-file');
    writeFileSync(path, '');
    await expect(open(path)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('is a file; name a folder (EEXIST)'),
    });
    await expect(open(join(path, 'below'))).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('name a folder'),
    });
  });

  it('where its file is a folder, or something else', async () => {
    const [one, other] = [join(folder, 'one'), join(folder, 'other')];
    mkdirSync(join(one, 'nexus.db'), { recursive: true });
    await expect(open(one)).rejects.toMatchObject({
      code: 'config_invalid',
      message: expect.stringContaining('nexus.db cannot be opened'),
    });
    mkdirSync(other);
    writeFileSync(join(other, 'nexus.db'), 'a letter'.repeat(200));
    await expect(open(other)).rejects.toMatchObject({ code: 'config_invalid', message: expect.stringContaining('is not a database') });
  });

  it('where another process holds it: an outage, in time', async () => {
    const path = join(folder, 'held');
    const driver = await open(path);
    const holder = new DatabaseSync(join(path, 'nexus.db'));
    holder.exec('begin immediate');
    await expect(open(path)).rejects.toMatchObject({ code: 'storage_unavailable', message: expect.stringContaining('stayed busy') });
    holder.exec('rollback');
    holder.close();
    await driver.close();
  });
});
